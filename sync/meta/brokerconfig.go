package meta

import "strings"

// BrokerConfigs describes every key of a broker's configuration that is reported: those from which
// topics inherit, and those that Kafka's tools and clients look at.
var BrokerConfigs = newTable(append(inheritedConfigs(), []ConfigDef{
	{Name: "node.id", Type: TypeInt, NoDefault: true, Doc: "The id of this node."},
	{Name: "broker.id", Type: TypeInt, NoDefault: true, Doc: "The id of this node, under its older name."},
	{Name: "broker.rack", Type: TypeString, NoDefault: true, Doc: "Where this node stands."},
	{Name: "listeners", Type: TypeList, NoDefault: true, Doc: "The addresses this node listens on."},
	{Name: "advertised.listeners", Type: TypeList, NoDefault: true, Doc: "The addresses this node tells its clients."},
	{Name: "log.dirs", Type: TypeList, NoDefault: true, Doc: "The directory the log is stored in."},
	{Name: "log.dir", Type: TypeString, NoDefault: true, Doc: "The directory the log is stored in, under its older name."},
	{Name: "inter.broker.protocol.version", Type: TypeString, Default: "3.9-IV0", Doc: "The version of Kafka whose protocol this node speaks, for tools that adapt to it."},
	{Name: "auto.create.topics.enable", Type: TypeBoolean, Default: "true", Doc: "Whether a topic is created when a client asks for one that is not there."},
	{Name: "delete.topic.enable", Type: TypeBoolean, Default: "true", Doc: "Whether topics may be deleted."},
	{Name: "num.partitions", Type: TypeInt, Default: "1", check: between(1, MaxTopicPartitions), Doc: "How many partitions a topic gets that is created without saying how many."},
	{Name: "default.replication.factor", Type: TypeInt, Default: "1", check: between(1, MaxReplicationFactor), Doc: "How many replicas the partitions of a topic get that is created without saying how many."},
	{Name: "offsets.topic.num.partitions", Type: TypeInt, Default: "1", check: between(1, MaxTopicPartitions), Doc: "How many partitions the topic of the committed offsets gets when it is created."},
	{Name: "offsets.topic.replication.factor", Type: TypeShort, Default: "1", check: between(1, MaxReplicationFactor), Doc: "How many replicas the topic of the committed offsets gets when it is created."},
	{Name: "offsets.topic.segment.bytes", Type: TypeInt, Default: "104857600", check: atLeast(1), Doc: "The segment.bytes of the topic of the committed offsets."},
	{Name: "offsets.topic.compression.codec", Type: TypeInt, Default: "0", check: between(0, 4), Doc: "The compression of the topic of the committed offsets: 0 is none."},
	{Name: "offsets.retention.minutes", Type: TypeInt, Default: "10080", check: atLeast(1), Doc: "How long a committed offset is kept after the last commit of it."},
	{Name: "offsets.retention.check.interval.ms", Type: TypeLong, Default: "600000", check: atLeast(1), Doc: "How often committed offsets are looked through for those to be dropped."},
	{Name: "offset.metadata.max.bytes", Type: TypeInt, Default: "4096", check: atLeast(0), Doc: "How long the text beside a committed offset may be."},
	{Name: "transaction.state.log.num.partitions", Type: TypeInt, Default: "50", check: atLeast(1), Doc: "How many partitions the topic of the transactions gets."},
	{Name: "transaction.state.log.replication.factor", Type: TypeShort, Default: "1", check: atLeast(1), Doc: "How many replicas the topic of the transactions gets."},
	{Name: "transaction.state.log.min.isr", Type: TypeInt, Default: "1", check: atLeast(1), Doc: "The min.insync.replicas of the topic of the transactions."},
	{Name: "transaction.state.log.segment.bytes", Type: TypeInt, Default: "104857600", check: atLeast(1), Doc: "The segment.bytes of the topic of the transactions."},
	{Name: "transaction.max.timeout.ms", Type: TypeInt, Default: "900000", check: atLeast(1), Doc: "The longest timeout a transactional producer may ask for."},
	{Name: "group.min.session.timeout.ms", Type: TypeInt, Default: "6000", check: atLeast(0), Doc: "The shortest session timeout a group member may ask for."},
	{Name: "group.max.session.timeout.ms", Type: TypeInt, Default: "1800000", check: atLeast(1), Doc: "The longest session timeout a group member may ask for."},
	{Name: "group.initial.rebalance.delay.ms", Type: TypeInt, Default: "3000", check: atLeast(0), Doc: "How long an empty group waits for more members after the first."},
	{Name: "group.max.size", Type: TypeInt, Default: "2147483647", check: atLeast(1), Doc: "How many members a group may have."},
	{Name: "group.consumer.session.timeout.ms", Type: TypeInt, Default: "45000", check: atLeast(1), Doc: "The session timeout of the newer consumer groups."},
	{Name: "group.consumer.min.session.timeout.ms", Type: TypeInt, Default: "45000", check: atLeast(1), Doc: "The shortest session timeout of the newer consumer groups."},
	{Name: "group.consumer.max.session.timeout.ms", Type: TypeInt, Default: "60000", check: atLeast(1), Doc: "The longest session timeout of the newer consumer groups."},
	{Name: "group.consumer.heartbeat.interval.ms", Type: TypeInt, Default: "5000", check: atLeast(1), Doc: "The heartbeat interval of the newer consumer groups."},
	{Name: "group.consumer.min.heartbeat.interval.ms", Type: TypeInt, Default: "5000", check: atLeast(1), Doc: "The shortest heartbeat interval of the newer consumer groups."},
	{Name: "group.consumer.max.heartbeat.interval.ms", Type: TypeInt, Default: "15000", check: atLeast(1), Doc: "The longest heartbeat interval of the newer consumer groups."},
	{Name: "group.consumer.max.size", Type: TypeInt, Default: "2147483647", check: atLeast(1), Doc: "How many members a newer consumer group may have."},
	{Name: "connections.max.idle.ms", Type: TypeLong, Default: "600000", check: atLeast(-1), Doc: "How long a connection may be silent before it is closed."},
	{Name: "connections.max.reauth.ms", Type: TypeLong, Default: "0", check: atLeast(0), Doc: "After what time a client must authenticate again; 0 is never."},
	{Name: "fetch.max.bytes", Type: TypeInt, Default: "57671680", check: atLeast(1024), Doc: "How many bytes a fetch answers with at the most."},
	{Name: "socket.request.max.bytes", Type: TypeInt, Default: "104857600", check: atLeast(1), Doc: "The largest request that is accepted."},
	{Name: "replica.lag.time.max.ms", Type: TypeLong, Default: "30000", check: atLeast(1), Doc: "How long a replica may be behind before it leaves the in-sync replicas."},
}...))

// inheritedConfigs derives from the table of topic keys the broker keys that are their defaults. Of
// several in different units the first, in the topic key's own unit, can be altered at run time, and the
// last has the default, as in Kafka (log.retention.ms, .minutes, .hours).
func inheritedConfigs() []ConfigDef {
	var out []ConfigDef
	for _, t := range TopicConfigs.All() {
		for i, b := range t.Broker {
			d := ConfigDef{
				Name:    b.Name,
				Type:    t.Type,
				Dynamic: i == 0,
				Doc:     "The default of " + t.Name + " for all topics. " + t.Doc,
				check:   t.check,
			}
			switch last := i == len(t.Broker)-1; {
			case len(t.Broker) > 1 && !last:
				d.NoDefault = true
			case b.Unit > 1:
				d.Default = formatLong(parseLong(t.Default) / b.Unit)
			default:
				d.Default = t.Default
			}
			if b.Unit > 1 {
				unit := "hours"
				if b.Unit == 60_000 {
					unit = "minutes"
				}
				d.Type = TypeInt
				d.Doc = "The default of " + t.Name + " for all topics, in " + unit + "."
				d.check = atLeast(-1)
			}
			out = append(out, d)
		}
	}
	return out
}

// checkDynamic checks the dynamic configuration of brokers: known keys, and of those the ones that can
// be altered at run time.
func checkDynamic(configs map[string]string) error {
	var fixed []string
	for _, k := range sortedKeys(configs) {
		d, err := BrokerConfigs.find(k, configs[k])
		if err != nil {
			return err
		}
		if !d.Dynamic {
			fixed = append(fixed, k)
			continue
		}
		if err := d.Check(configs[k]); err != nil {
			return err
		}
	}
	if len(fixed) > 0 {
		return errFixed(strings.Join(fixed, ", "))
	}
	return nil
}
