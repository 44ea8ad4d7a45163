// KafkaJS against one broker: `node kafkajs.cjs BOOTSTRAP`, with NODE_PATH set to where kafkajs is. Writes one JSON object.
const { Kafka, CompressionTypes, ConfigResourceTypes, logLevel } = require("kafkajs");

const kafka = new Kafka({ clientId: "kafkajs", brokers: [process.argv[2]], logLevel: logLevel.NOTHING, retry: { retries: 3 } });
const failure = (promise) => promise.then(() => null, (error) => error.type || (error.groups || [error])[0].error?.type || error.name);

async function produced() {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  const sent = [];
  for (const [name, compression] of [["none", CompressionTypes.None], ["gzip", CompressionTypes.GZIP]]) {
    const messages = [0, 1, 2].map((n) => ({ key: `${name}-${n}`, value: n ? `${n} `.repeat(300) : null, headers: { host: "web-1" } }));
    const [result] = await producer.send({ topic: "js", compression, messages: messages.map((m) => ({ ...m, partition: 1 })) });
    sent.push(Number(result.baseOffset));
  }
  await producer.sendBatch({
    topicMessages: [
      { topic: "js", messages: [{ value: "old", partition: 0, timestamp: "1500000000000" }] },
      { topic: "js-made-by-sending", messages: [{ value: "new" }] },
    ],
  });
  await producer.disconnect();
  return sent;
}

async function consumed(admin) {
  const consumer = kafka.consumer({ groupId: "js-group", sessionTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 200 });
  await consumer.connect();
  await consumer.subscribe({ topics: ["js"], fromBeginning: true });
  const records = [];
  const busy = await new Promise((resolve, reject) => {
    const eachMessage = async ({ partition, message: { offset, key, value, headers, timestamp } }) => {
      records.push([partition, Number(offset), key && `${key}`, value && `${value}`, headers.host && `${headers.host}`, timestamp]);
      if (records.length === 7) {
        const described = admin.describeGroups(["js-group", "nobody"]);
        described.then(async ({ groups }) => resolve({ groups, error: await failure(admin.deleteGroups(["js-group"])) }), reject);
      }
    };
    consumer.run({ eachMessage }).catch(reject);
  });
  await consumer.disconnect();
  return { records, busy };
}

async function offsetsOf(admin) {
  const [{ partitions }] = await admin.fetchOffsets({ groupId: "js-group", topics: ["js"] });
  return partitions.map(({ offset }) => Number(offset));
}

async function main() {
  const admin = kafka.admin();
  await admin.connect();
  const topics = [{ topic: "js", numPartitions: 2, configEntries: [{ name: "retention.ms", value: "-1" }] }];
  const seen = { created: await admin.createTopics({ topics }), createdAgain: await admin.createTopics({ topics }) };
  seen.baseOffsets = await produced();
  Object.assign(seen, await consumed(admin));
  seen.topics = await admin.listTopics();
  seen.cluster = await admin.describeCluster();
  seen.ends = (await admin.fetchTopicOffsets("js")).map(({ low, high }) => [Number(low), Number(high)]);
  seen.since = (await admin.fetchTopicOffsetsByTimestamp("js", 1600000000000)).map(({ offset }) => Number(offset));
  seen.committed = await offsetsOf(admin);
  await admin.setOffsets({ groupId: "js-group", topic: "js", partitions: [{ partition: 1, offset: "4" }] });
  seen.set = await offsetsOf(admin);
  seen.groups = (await admin.listGroups()).groups;
  const resources = [{ type: ConfigResourceTypes.TOPIC, name: "js", configNames: ["retention.ms"] }];
  seen.config = (await admin.describeConfigs({ includeSynonyms: false, resources })).resources[0].configEntries;
  const altered = { type: ConfigResourceTypes.TOPIC, name: "js", configEntries: [{ name: "retention.ms", value: "60000" }] };
  await admin.alterConfigs({ validateOnly: false, resources: [altered] });
  seen.altered = (await admin.describeConfigs({ includeSynonyms: false, resources })).resources[0].configEntries[0].configValue;
  await admin.deleteTopicRecords({ topic: "js", partitions: [{ partition: 1, offset: "2" }] });
  seen.cut = (await admin.fetchTopicOffsets("js")).map(({ low }) => Number(low));
  seen.deletedGroups = await admin.deleteGroups(["js-group"]);
  await admin.deleteTopics({ topics: ["js"] });
  seen.topicsLeft = await admin.listTopics();
  await admin.disconnect();
  console.log(JSON.stringify(seen));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
