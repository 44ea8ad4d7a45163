PRAGMA user_version=3;
BEGIN TRANSACTION;
CREATE TABLE answers (stream_id TEXT, start INTEGER, said BLOB, PRIMARY KEY (stream_id, start)) WITHOUT ROWID;
CREATE TABLE chunks (
    stream_id TEXT, start INTEGER, end INTEGER, since INTEGER, shipped_to INTEGER, read_time_ms INTEGER,
    pipeline TEXT, split_bytes INTEGER, content TEXT, line TEXT, more INTEGER, allowance INTEGER, stderr_to INTEGER,
    PRIMARY KEY (stream_id, start)
) WITHOUT ROWID;
INSERT INTO "chunks" VALUES('s-1',0,20,0,0,1795424400123,'cd4d756605f0e6ae7b766319deb2f6fc',64,'c0ffee','["utf-8", null, 2, false]',1,0,0);
CREATE TABLE ends (topic TEXT, partition INTEGER, next_offset INTEGER, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
INSERT INTO "ends" VALUES('logs',3,17);
INSERT INTO "ends" VALUES('orders',0,4);
CREATE TABLE inputs (topic TEXT, name TEXT, PRIMARY KEY (topic, name)) WITHOUT ROWID;
INSERT INTO "inputs" VALUES('logs','tail-logs');
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('agent_id','agent-1');
INSERT INTO "meta" VALUES('host','h');
INSERT INTO "meta" VALUES('machine_id','m');
INSERT INTO "meta" VALUES('opened','1');
CREATE TABLE pipelines (id TEXT PRIMARY KEY, definition TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "pipelines" VALUES('cd4d756605f0e6ae7b766319deb2f6fc','{"parse":{"type":"auto"},"version":2}');
CREATE TABLE schemas (
    registry TEXT, subject TEXT, schema TEXT, id INTEGER, PRIMARY KEY (registry, subject, schema)
) WITHOUT ROWID;
INSERT INTO "schemas" VALUES('http://r','logs-value','{}',7);
CREATE TABLE streams (
    stream_id TEXT PRIMARY KEY, topic TEXT, partition INTEGER, host TEXT, service TEXT, source TEXT, path TEXT,
    device INTEGER, inode INTEGER, birth_ns INTEGER, position INTEGER, crc INTEGER, guard TEXT, head_bytes INTEGER, head TEXT,
    tail_open INTEGER, line TEXT, detached INTEGER, size_seen INTEGER, complete_ms INTEGER, shipped_to INTEGER,
    stderr_to INTEGER, begin INTEGER, target TEXT, dropped TEXT
) WITHOUT ROWID;
INSERT INTO "streams" VALUES('s-1','logs',3,'h','a','/a.log','/a.log',7,99,5,0,0,'',0,'',0,NULL,0,40,1000,0,0,0,'',NULL);
INSERT INTO "streams" VALUES('s-9','logs',3,'h','a','/a.log','/a.log',7,100,5,0,0,'',0,'',0,NULL,0,40,1000,0,0,7,'/b.log','[5, 1790000000000000001, "done"]');
CREATE TABLE windows (
    topic TEXT, window_start_ms INTEGER, count INTEGER, bytes INTEGER, hash TEXT, rejected INTEGER, acked TEXT, dropped TEXT,
    unsaid INTEGER, PRIMARY KEY (topic, window_start_ms)
) WITHOUT ROWID;
INSERT INTO "windows" VALUES('logs',0,2,15,'ffffffffffffffff',0,'[[3, 17]]','[]',1);
INSERT INTO "windows" VALUES('logs',600000,1,5,'0000000000000003',1,'[[3, 17]]','[]',1);
INSERT INTO "windows" VALUES('orders',0,4,40,'0000000000000009',0,'[[0, 4]]','[]',0);
CREATE INDEX unsaid_windows ON windows (unsaid) WHERE unsaid;
COMMIT;
