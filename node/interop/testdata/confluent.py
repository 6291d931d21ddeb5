"""What a program with confluent-kafka (librdkafka) does without the group protocol; prints what it saw as JSON."""
import json
import sys
import time

import confluent_kafka
from confluent_kafka import Consumer, Producer, TopicPartition, OFFSET_BEGINNING
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

broker, topic = sys.argv[1:]
saw = {"version": confluent_kafka.version()[0] if isinstance(confluent_kafka.version(), tuple) else confluent_kafka.version(),
       "delivered": 0, "errors": [], "values": {}}

admin = AdminClient({"bootstrap.servers": broker})
for f in admin.create_topics([NewTopic(topic, 4, 1, config={"retention.ms": "3600000"})]).values():
    f.result(20)
until = time.time() + 20
while topic not in admin.list_topics(timeout=20).topics and time.time() < until:
    time.sleep(0.1)  # Kafka's brokers learn of a topic after its creation is confirmed
resource = ConfigResource(ResourceType.TOPIC, topic)
for f in admin.describe_configs([resource]).values():
    saw["config"] = {k: v.value for k, v in f.result(20).items() if k == "retention.ms"}


def delivered(err, msg):
    if err is not None:
        saw["errors"].append(str(err))
    else:
        saw["delivered"] += 1


producer = Producer({"bootstrap.servers": broker, "enable.idempotence": True, "linger.ms": 5, "compression.type": "lz4"})
for i in range(5000):
    producer.produce(topic, value=b"%d" % (i // 10), key=b"key-%d" % (i % 10), headers=[("unit", b"Cel"), ("none", None)],
                     on_delivery=delivered)
    producer.poll(0)
if producer.flush(20) != 0:
    saw["errors"].append("not flushed")

group = "group-" + topic
consumer = Consumer({"bootstrap.servers": broker, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest"})
consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(4)])
got, until = 0, time.time() + 20
while got < 5000 and time.time() < until:
    msg = consumer.poll(0.5)
    if msg is None:
        continue
    if msg.error():
        saw["errors"].append(str(msg.error()))
        continue
    got += 1
    saw["values"].setdefault(msg.key().decode(), []).append(int(msg.value()))
    saw["headers"] = [[k, None if v is None else v.decode()] for k, v in msg.headers()]
consumer.commit(offsets=[TopicPartition(topic, 2, 17)], asynchronous=False)
saw["committed"] = consumer.committed([TopicPartition(topic, 2)], timeout=20)[0].offset
saw["watermark"] = list(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20, cached=False))
consumer.close()

for f in admin.delete_topics([topic]).values():
    f.result(20)
until = time.time() + 20
while topic in admin.list_topics(timeout=20).topics and time.time() < until:
    time.sleep(0.1)
saw["deleted"] = topic not in admin.list_topics(timeout=20).topics
print(json.dumps(saw))
