"""`make peers`: an archive of the classes that Kafka's server and tools load; with it Java starts in half the time.

Java may be given a list of classes to put into one (JEP 310, application class-data sharing); runs of the server and of tools
leave their lists. Java does without the archive where it or the jars are others than those that it was made with.
"""

import os
import subprocess
import tempfile
from pathlib import Path

from tests.apache_kafka import ApacheKafka
from tests.compat.java_tools import CLASSES, CONFIGS, JAVA, JavaTools


def main() -> None:
    """Run them, and put what they loaded into one archive."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        os.environ["JDK_JAVA_OPTIONS"] = f"-XX:DumpLoadedClassList={directory}/%p.classes"
        with ApacheKafka(directory / "server") as kafka:
            use(JavaTools(kafka.bootstrap))
        del os.environ["JDK_JAVA_OPTIONS"]
        lists = [file.read_text().splitlines() for file in directory.glob("*.classes")]
        together = directory / "classes"
        together.write_text("\n".join(dict.fromkeys(line for each in lists for line in each)))
        dump = ["-Xshare:dump", f"-XX:SharedClassListFile={together}", f"-XX:SharedArchiveFile={CLASSES}"]
        subprocess.run([JAVA[0], *dump, *JAVA[1:]], check=True, capture_output=True, timeout=120)


def use(tools: JavaTools) -> None:
    """The tools that tests run, each once."""
    tools.run("TopicCommand", "--create", "--topic", "t")
    tools.run("ConsoleProducer", "--topic", "t", stdin="a\n")
    tools.run("consumer.ConsoleConsumer", "--topic", "t", "--group", "g", "--from-beginning", "--max-messages", "1")
    tools.run("consumer.group.ConsumerGroupCommand", "--describe", "--group", "g")
    tools.run("GetOffsetShell", "--topic-partitions", "t:0")
    tools.run(CONFIGS, "--entity-type", "topics", "--entity-name", "t", "--describe")
    tools.run("AclCommand", "--list", exit_status=None)


if __name__ == "__main__":
    main()
