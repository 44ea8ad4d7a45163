"""The stores that tables land on: the local disk, HDFS, object stores."""
