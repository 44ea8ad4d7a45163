// KafkaJS over TLS with a login: `node tls.cjs BOOTSTRAP CA MECHANISM USER PASSWORD`; writes what it read, or the name of the error.
const fs = require("fs");
const { Kafka, logLevel } = require("kafkajs");

const [bootstrap, ca, mechanism, username, password] = process.argv.slice(2);
const kafka = new Kafka({
  brokers: [bootstrap],
  ssl: { ca: [fs.readFileSync(ca)] },
  sasl: { mechanism, username, password },
  logLevel: logLevel.NOTHING,
  retry: { retries: 1 },
});

async function main() {
  const topic = `js-${mechanism}`;
  const producer = kafka.producer();
  await producer.connect();
  await producer.send({ topic, messages: [{ value: "x" }] });
  await producer.disconnect();
  const consumer = kafka.consumer({ groupId: topic, maxWaitTimeInMs: 200 });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  const value = await new Promise((resolve) => consumer.run({ eachMessage: async ({ message }) => resolve(`${message.value}`) }));
  await consumer.disconnect();
  return value;
}

main().then(console.log, (error) => console.log(error.name));
