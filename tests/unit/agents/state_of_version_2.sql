PRAGMA user_version=2;
BEGIN TRANSACTION;
CREATE TABLE answers (stream_id TEXT, start INTEGER, said BLOB, PRIMARY KEY (stream_id, start)) WITHOUT ROWID;
INSERT INTO "answers" VALUES('s-1',0,X'78018B4E4BCC294ED551504ACC53482D2ACA2F528A050040AA066D');
CREATE TABLE chunks (
    stream_id TEXT, start INTEGER, end INTEGER, since INTEGER, shipped_to INTEGER, read_time_ms INTEGER,
    pipeline TEXT, split_bytes INTEGER, content TEXT, line TEXT, more INTEGER, allowance INTEGER, stderr_to INTEGER,
    PRIMARY KEY (stream_id, start)
) WITHOUT ROWID;
INSERT INTO "chunks" VALUES('s-1',0,20,0,0,1795424400123,'cd4d756605f0e6ae7b766319deb2f6fc',64,'c0ffee','["utf-8", null, 2, false]',1,0,0);
CREATE TABLE ends (topic TEXT, partition INTEGER, next_offset INTEGER, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
INSERT INTO "ends" VALUES('logs',3,17);
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('agent_id','agent-1');
INSERT INTO "meta" VALUES('host','h');
INSERT INTO "meta" VALUES('machine_id','m');
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
    stderr_to INTEGER
) WITHOUT ROWID;
INSERT INTO "streams" VALUES('s-1','logs',3,'h','a','/a.log','/a.log',7,99,5,0,0,'',0,'',1,'["iso-8859-1", 5, 1, false]',0,40,1000,0,0);
INSERT INTO "streams" VALUES('s-2','logs',3,'h','a','/var/b.log','/var/b.log',7,100,5,30,123456,'00ff',30,'ff00',0,NULL,1,40,1000,25,20);
CREATE TABLE windows (
    topic TEXT, window_start_ms INTEGER, count INTEGER, bytes INTEGER, hash TEXT, rejected INTEGER, acked TEXT, dropped TEXT,
    unsaid INTEGER, PRIMARY KEY (topic, window_start_ms)
) WITHOUT ROWID;
INSERT INTO "windows" VALUES('logs',0,2,15,'0000000000000007',0,'[[3, 17]]','[]',1);
INSERT INTO "windows" VALUES('logs',600000,0,0,'0000000000000000',1,'[]','[]',1);
CREATE INDEX unsaid_windows ON windows (unsaid) WHERE unsaid;
COMMIT;
