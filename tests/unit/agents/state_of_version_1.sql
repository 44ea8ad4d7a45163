PRAGMA user_version=1;
BEGIN TRANSACTION;
CREATE TABLE chunks (
    stream_id TEXT, start INTEGER, end INTEGER, since INTEGER, read_time_ms INTEGER, parser TEXT, split_bytes INTEGER,
    content TEXT, line TEXT, more INTEGER, PRIMARY KEY (stream_id, start)
) WITHOUT ROWID;
INSERT INTO "chunks" VALUES('s-1',0,20,0,1795424400123,'auto',64,'c0ffee','["utf-8", null, 2]',1);
INSERT INTO "chunks" VALUES('s-1',20,30,20,1795424400123,'json',64,'c0ffee',NULL,0);
CREATE TABLE ends (topic TEXT, partition INTEGER, next_offset INTEGER, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
INSERT INTO "ends" VALUES('logs',3,17);
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('agent_id','agent-1');
INSERT INTO "meta" VALUES('host','h');
INSERT INTO "meta" VALUES('machine_id','m');
CREATE TABLE schemas (
    registry TEXT, subject TEXT, schema TEXT, id INTEGER, PRIMARY KEY (registry, subject, schema)
) WITHOUT ROWID;
INSERT INTO "schemas" VALUES('http://r','logs-value','{}',7);
CREATE TABLE streams (
    stream_id TEXT PRIMARY KEY, topic TEXT, partition INTEGER, host TEXT, service TEXT, source TEXT, path TEXT,
    device INTEGER, inode INTEGER, birth_ns INTEGER, position INTEGER, crc INTEGER, guard TEXT, head_bytes INTEGER, head TEXT,
    tail_open INTEGER, line TEXT, detached INTEGER, size_seen INTEGER, complete_ms INTEGER
) WITHOUT ROWID;
INSERT INTO "streams" VALUES('s-1','logs',3,'h','a','/a.log','/a.log',7,99,5,0,0,'',0,'',1,'["iso-8859-1", 5, 1]',0,40,1000);
CREATE TABLE windows (
    topic TEXT, window_start_ms INTEGER, count INTEGER, bytes INTEGER, hash TEXT, rejected INTEGER, acked TEXT, dropped TEXT,
    unsaid INTEGER, PRIMARY KEY (topic, window_start_ms)
) WITHOUT ROWID;
INSERT INTO "windows" VALUES('logs',0,2,15,'0000000000000007',0,'[[3, 17]]','[]',1);
INSERT INTO "windows" VALUES('logs',600000,0,0,'0000000000000000',1,'[]','[]',1);
CREATE INDEX unsaid_windows ON windows (unsaid) WHERE unsaid;
COMMIT;
