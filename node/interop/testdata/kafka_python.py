"""What a program with kafka-python does without the group protocol; prints what it saw as JSON."""
import json
import sys
import time

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.structs import OffsetAndMetadata

broker, topic = sys.argv[1:]
saw = {"version": kafka.__version__, "codecs": {}}

admin = KafkaAdminClient(bootstrap_servers=broker)
admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
codecs = ["none", "gzip"]
for module, codec in (("snappy", "snappy"), ("lz4", "lz4"), ("zstandard", "zstd")):
    try:
        __import__(module)
        codecs.append(codec)
    except ImportError:
        saw["codecs"][codec] = 200  # the library needs a package for it that is not installed
admin.create_topics([NewTopic(topic + "." + c, num_partitions=2, replication_factor=1) for c in codecs])
admin.close()

producer = KafkaProducer(bootstrap_servers=broker, acks="all")
for i in range(100):
    producer.send(topic, b"value-%d" % i, key=b"key-%d" % (i % 10), timestamp_ms=1700000000000 + i,
                  headers=[("unit", b"Cel"), ("empty", b"")]).get(timeout=20)
producer.close()


def consume(partitions, count, **options):
    consumer = KafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest", **options)
    consumer.assign(partitions)
    records, until = [], time.time() + 20
    while len(records) < count and time.time() < until:
        for batch in consumer.poll(timeout_ms=500).values():
            records.extend(batch)
    return consumer, records


p = TopicPartition(topic, 0)
consumer, records = consume([p], 100)
saw["values"] = [r.value.decode() for r in records]
saw["keys"] = [r.key.decode() for r in records]
saw["headers"] = [[k, v.decode()] for k, v in records[0].headers]
saw["timestamp"] = records[7].timestamp
saw["partitions"] = len(consumer.partitions_for_topic(topic))
saw["end"] = consumer.end_offsets([p])[p]
saw["begin"] = consumer.beginning_offsets([p])[p]
saw["for_time"] = consumer.offsets_for_times({p: 1700000000050})[p].offset
consumer.close()

# Offsets, committed with a group's name and no membership.
group = "group-" + topic
consumer = KafkaConsumer(bootstrap_servers=broker, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest")
consumer.assign([p])
try:
    at = OffsetAndMetadata(42, "half way", -1)
except TypeError:
    at = OffsetAndMetadata(42, "half way")
consumer.commit({p: at})
consumer.close()

consumer, records = consume([p], 58, group_id=group, enable_auto_commit=False)
saw["again"] = [r.value.decode() for r in records]
saw["committed"] = {"0": consumer.committed(p)}
saw["metadata"] = {"0": consumer.committed(p, metadata=True).metadata}
consumer.close()

for codec in codecs:
    name = topic + "." + codec
    producer = KafkaProducer(bootstrap_servers=broker, compression_type=None if codec == "none" else codec, linger_ms=20)
    for i in range(200):
        producer.send(name, b"a value that can be compressed " * 5, key=b"%d" % i)
    producer.flush()
    producer.close()
    consumer, records = consume([TopicPartition(name, 0), TopicPartition(name, 1)], 200)
    saw["codecs"][codec] = len({r.key for r in records})
    consumer.close()

print(json.dumps(saw))
