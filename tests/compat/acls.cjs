// KafkaJS's administrator on access rules: `node acls.cjs BOOTSTRAP`, with NODE_PATH set to where kafkajs is. Writes one JSON object.
const { Kafka, AclResourceTypes, AclOperationTypes, AclPermissionTypes, ResourcePatternTypes, logLevel } = require("kafkajs");

const kafka = new Kafka({ clientId: "kafkajs", brokers: [process.argv[2]], logLevel: logLevel.NOTHING, retry: { retries: 3 } });
const rule = {
  resourceType: AclResourceTypes.TOPIC,
  resourceName: "js-",
  resourcePatternType: ResourcePatternTypes.PREFIXED,
  principal: "User:js",
  host: "*",
  operation: AclOperationTypes.WRITE,
  permissionType: AclPermissionTypes.ALLOW,
};

async function main() {
  const admin = kafka.admin();
  await admin.connect();
  const seen = { created: await admin.createAcls({ acl: [rule] }) };
  seen.described = (await admin.describeAcls(rule)).resources;
  seen.deleted = (await admin.deleteAcls({ filters: [rule] })).filterResponses;
  seen.left = (await admin.describeAcls(rule)).resources;
  await admin.disconnect();
  console.log(JSON.stringify(seen));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
