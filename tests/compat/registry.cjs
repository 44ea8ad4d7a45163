// Two registry clients against one registry: `node registry.cjs URL`, with NODE_PATH set to where they are. Writes one JSON object.
const confluent = require("@confluentinc/schemaregistry");
const kafkajs = require("@kafkajs/confluent-schema-registry");

const url = process.argv[2];
const client = () => new confluent.SchemaRegistryClient({ baseURLs: [url], cacheCapacity: 100 });
const failure = (promise) => promise.then(() => null, (error) => [error.status, error.errorCode]);

const user = (...more) => ({
  type: "record",
  name: "User",
  fields: [{ name: "id", type: "long" }, { name: "name", type: "string", "confluent:tags": ["PII"] }, ...more],
});
const born = { name: "born", type: ["null", "int"], default: null };
const avro = (schema, more) => ({ schema: JSON.stringify(schema), schemaType: "AVRO", ...more });

async function registered(one) {
  const first = await one.registerFullResponse("js-value", avro(user(), { metadata: { properties: { owner: "billing" } } }));
  const second = await one.register("js-value", avro(user(born), { metadata: { properties: { owner: "sales" } } }));
  const other = client();
  const latest = await other.getLatestSchemaMetadata("js-value");
  return {
    ids: [first.id, second],
    guids: [latest.guid, (await other.getByGuid(latest.guid)).schema === latest.schema],
    text: latest.schema === JSON.stringify(user(born)),
    byId: (await other.getBySubjectAndId("js-value", first.id)).schema === JSON.stringify(user()),
    looked: await other.getId("js-value", avro(user(), { metadata: { properties: { owner: "billing" } } })),
    version: await other.getVersion("js-value", avro(user(born), { metadata: { properties: { owner: "sales" } } })),
    versions: await other.getAllVersions("js-value"),
    named: (await other.getSchemaMetadata("js-value", 1)).metadata.properties,
    owned: (await other.getLatestWithMetadata("js-value", { owner: "billing" })).version,
    ownedByNobody: await failure(other.getLatestWithMetadata("js-value", { owner: "nobody" })),
    nobody: await failure(other.getLatestSchemaMetadata("nobody")),
    subjects: (await other.getAllSubjects()).includes("js-value"),
  };
}

async function configured(one) {
  const must = avro(user({ name: "must", type: "string" }));
  const seen = { default: await one.getDefaultCompatibility(), unset: await failure(one.getCompatibility("js-value")) };
  seen.fits = [await one.testSubjectCompatibility("js-value", avro(user(born))), await one.testSubjectCompatibility("js-value", must)];
  seen.fitsFirst = await one.testCompatibility("js-value", 1, must);
  seen.refused = await failure(one.register("js-value", must));
  seen.set = await one.updateCompatibility("js-value", "NONE");
  seen.got = await one.getCompatibility("js-value");
  await one.updateConfig("js-configured", {
    compatibilityLevel: "FULL",
    compatibilityGroup: "major",
    defaultMetadata: { properties: { owner: "nobody", team: "a" } },
    overrideMetadata: { properties: { cost: "1" } },
    defaultRuleSet: { domainRules: [{ name: "r", kind: "CONDITION", mode: "WRITE", type: "CEL", expr: "true" }] },
  });
  seen.config = await one.getConfig("js-configured");
  await one.register("js-configured", avro(user(), { metadata: { properties: { owner: "me" } } }));
  const { metadata, ruleSet } = await one.getLatestSchemaMetadata("js-configured");
  seen.merged = [metadata.properties, ruleSet.domainRules.map(({ name }) => name)];
  await one.updateConfig("js-alias", { alias: "js-configured" });
  seen.alias = (await client().getLatestSchemaMetadata("js-alias")).subject;
  return seen;
}

async function deleted(one) {
  for (const schema of [user(), user(born)]) await one.register("js-gone", avro(schema));
  const seen = { version: await one.deleteSubjectVersion("js-gone", 1), versions: await client().getAllVersions("js-gone") };
  seen.tooEarly = await failure(client().deleteSubject("js-gone", true));
  seen.subject = await one.deleteSubject("js-gone");
  seen.forGood = await client().deleteSubject("js-gone", true);
  return seen;
}

async function contracts(one) {
  confluent.CelExecutor.register();
  confluent.CelFieldExecutor.register();
  const rule = (name, type, kind, expr, more) => ({ name, kind, mode: "WRITE", type, expr, ...more });
  const domainRules = [
    rule("named", "CEL", "CONDITION", "message.name != ''"),
    rule("hidden", "CEL_FIELD", "TRANSFORM", "typeName == 'STRING' ; value + '!'", { tags: ["PII"] }),
  ];
  await one.register("js-rules-value", avro(user(), { ruleSet: { domainRules } }));
  const serializer = new confluent.AvroSerializer(client(), confluent.SerdeType.VALUE, { useLatestVersion: true });
  const deserializer = new confluent.AvroDeserializer(client(), confluent.SerdeType.VALUE, {});
  const read = await deserializer.deserialize("js-rules", await serializer.serialize("js-rules", { id: 1, name: "Zoë" }));
  const refused = await serializer.serialize("js-rules", { id: 1, name: "" }).then(() => null, (error) => error.constructor.name);
  return { name: read.name, refused };
}

async function serialized() {
  const seen = {};
  const headers = {};
  const byGuid = { autoRegisterSchemas: true, schemaIdSerializer: confluent.HeaderSchemaIdSerializer };
  const avroSerializer = new confluent.AvroSerializer(client(), confluent.SerdeType.VALUE, byGuid);
  const payload = await avroSerializer.serialize("js-avro", { id: 1, name: "a" }, headers);
  const avroDeserializer = new confluent.AvroDeserializer(client(), confluent.SerdeType.VALUE, {});
  seen.avro = [await avroDeserializer.deserialize("js-avro", payload, headers), Object.keys(headers)];
  const json = { $schema: "http://json-schema.org/draft-07/schema#", title: "Js", type: "object", properties: { id: { type: "integer" } } };
  await client().register("js-json-value", { schema: JSON.stringify(json), schemaType: "JSON" });
  const latest = { useLatestVersion: true, validate: true };
  const jsonSerializer = new confluent.JsonSerializer(client(), confluent.SerdeType.VALUE, latest);
  const jsonDeserializer = new confluent.JsonDeserializer(client(), confluent.SerdeType.VALUE, {});
  seen.json = await jsonDeserializer.deserialize("js-json", await jsonSerializer.serialize("js-json", { id: 7 }));
  const message = require("@bufbuild/protobuf").create(confluent.DecimalSchema, { value: Buffer.from([7]), precision: 3, scale: 1 });

  const protobufSerializer = new confluent.ProtobufSerializer(client(), confluent.SerdeType.VALUE, { autoRegisterSchemas: true });
  protobufSerializer.registry.add(confluent.DecimalSchema);
  const protobufDeserializer = new confluent.ProtobufDeserializer(client(), confluent.SerdeType.VALUE, {});
  const { precision, scale } = await protobufDeserializer.deserialize("js-proto", await protobufSerializer.serialize("js-proto", message));
  seen.protobuf = [precision, scale, (await client().getLatestSchemaMetadata("js-proto-value")).schema];
  return seen;
}

async function associated(one) {
  const wanted = { resourceName: "js-t", resourceNamespace: "lkc1", resourceId: "r1", resourceType: "topic" };
  const associations = [{ subject: "js-assoc-value", associationType: "value", lifecycle: "STRONG", schema: avro(user()) }];
  const found = () => one.getAssociationsByResourceName("js-t", "-", "topic", [], null, 0, -1);
  const seen = { created: await one.createAssociation({ ...wanted, associations }), found: await found() };
  await one.deleteAssociations("r1", "topic", ["value"], true);
  return { ...seen, left: await found(), subjects: (await client().getAllSubjects()).includes("js-assoc-value") };
}

async function withKafkajs() {
  const one = () => new kafkajs.SchemaRegistry({ host: url });
  const named = { ...user(), namespace: "js.shop" };
  const { id } = await one().register(named);
  const [value, other] = [{ id: 1, name: "Zoë" }, one()];
  const seen = { id, value: await other.decode(await one().encode(id, value)) };
  seen.level = await client().getCompatibility("js.shop.User");
  seen.again = (await one().register(named)).id === id;
  seen.found = [await other.getRegistryId("js.shop.User", 1), await other.getLatestSchemaId("js.shop.User")];
  seen.bySchema = await other.getRegistryIdBySchema("js.shop.User", named);
  seen.unknown = await other.getRegistryIdBySchema("js.shop.User", user(born)).catch((error) => error.name);
  seen.refused = await one().register({ ...user({ name: "must", type: "int" }), namespace: "js.shop" }).catch((error) => error.status);
  seen.level2 = await one().register(named, { compatibility: "FULL" }).catch((error) => error.name);
  const references = [{ name: "js.shop.User", subject: "js.shop.User", version: 1 }];
  const order = { type: "record", name: "Order", namespace: "js.shop", fields: [{ name: "by", type: "js.shop.User" }] };
  const ordered = await one().register({ type: "AVRO", schema: JSON.stringify(order), references }, { subject: "js-order" });
  seen.order = await one().decode(await one().encode(ordered.id, { by: value }));
  const money = 'syntax = "proto3"; package js; message Money { int64 amount = 1; string unit = 2; }';
  const protobuf = await one().register({ type: "PROTOBUF", schema: money }, { subject: "js-money" });
  seen.protobuf = await one().decode(await one().encode(protobuf.id, { amount: 42, unit: "EUR" }));
  const json = JSON.stringify({ type: "object", properties: { id: { type: "integer" } }, required: ["id"] });
  const jsons = await one().register({ type: "JSON", schema: json }, { subject: "js-jsons" });
  seen.json = await one().decode(await one().encode(jsons.id, { id: 7 }));
  seen.invalid = await one().encode(jsons.id, { id: "7" }).catch((error) => error.name);
  return seen;
}

async function main() {
  const one = client();
  const seen = { registered: await registered(one), configured: await configured(one), deleted: await deleted(one) };
  Object.assign(seen, { contracts: await contracts(one), serialized: await serialized(), kafkajs: await withKafkajs() });
  seen.associated = await associated(one).catch((error) => [error.status, error.errorCode]);
  return seen;
}

main().then((seen) => { console.log(JSON.stringify(seen)); process.exit(0); }, (error) => { console.error(error); process.exit(1); });
