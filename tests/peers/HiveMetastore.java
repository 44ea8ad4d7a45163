import java.util.Map;
import org.apache.hadoop.hive.metastore.HiveMetaStore;
import org.apache.hadoop.hive.metastore.conf.MetastoreConf;
import org.apache.hadoop.hive.metastore.conf.MetastoreConf.ConfVars;
import org.apache.hadoop.hive.metastore.security.HadoopThriftAuthBridge;
import org.apache.hadoop.hive.metastore.txn.TxnDbUtil;

/** Hive's metastore over a Derby in memory, with the tables of its locks: `HiveMetastore PORT WAREHOUSE`. */
public class HiveMetastore {
  public static void main(String[] arguments) throws Throwable {
    var conf = MetastoreConf.newMetastoreConf();
    Map<ConfVars, String> settings = Map.of(
        ConfVars.CONNECT_URL_KEY, "jdbc:derby:memory:metastore;create=true",
        ConfVars.CONNECTION_DRIVER, "org.apache.derby.jdbc.EmbeddedDriver",
        ConfVars.WAREHOUSE, arguments[1],
        ConfVars.AUTO_CREATE_ALL, "true",
        ConfVars.SCHEMA_VERIFICATION, "false",
        ConfVars.EXPRESSION_PROXY_CLASS, "org.apache.hadoop.hive.metastore.DefaultPartitionExpressionProxy",
        ConfVars.TASK_THREADS_ALWAYS, "org.apache.hadoop.hive.metastore.events.EventCleanerTask");
    settings.forEach((key, value) -> MetastoreConf.setVar(conf, key, value));
    TxnDbUtil.setConfValues(conf);
    TxnDbUtil.prepDb(conf);
    HiveMetaStore.startMetaStore(Integer.parseInt(arguments[0]), HadoopThriftAuthBridge.getBridge(), conf);
  }
}
