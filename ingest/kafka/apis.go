package kafka

import (
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// api is one row of the table of what is served.
type api struct {
	key, min, max int16
	// needs is the operation and the resource that an authorizer is asked about.
	needs  string
	shape  *shape
	handle handler
	// records: its requests carry records and may be large; the handler reads them from the frame as they arrive. waits: its answer may be long in coming, and what comes after
	// it on the connection waits.
	records, waits bool

	flexible int16 // first flexible version, from kmsg
}

const keyApiVersions = 18

// apis is what is served. What ApiVersions says, the dispatch, the labels of the metrics and SUPPORT.md derive from it.
var apis = withFlexible([]api{
	{key: 0, min: 0, max: 13, needs: "Write Topic", records: true, handle: (*Server).produce},
	{key: 1, min: 4, max: 18, needs: "Read Topic", waits: true, handle: (*Server).fetch,
		shape: mustShape("i-14 i i i b i7+ i7+ [s-12 u13+ [i i9+ q i12+ q5+ i]] [s7-12 u13+ <i>]7+ s11+ #1(iq)")},
	{key: 2, min: 0, max: 11, needs: "Describe Topic", handle: typed((*Server).listOffsets),
		shape: mustShape("i b2+ [s [i i4+ q i-0]] i10+")},
	{key: 3, min: 0, max: 13, needs: "Describe Topic, Create Topic", handle: typed((*Server).metadata),
		shape: mustShape("[u10+ s] b4+ b8-10 b8+")},
	{key: 8, min: 0, max: 10, needs: "Read Group, Read Topic", handle: typed((*Server).offsetCommit),
		shape: mustShape("s i1+ s1+ s7+ q2-4 [s-9 u10+ [i q q1-1 i6+ s]]")},
	{key: 9, min: 0, max: 10, needs: "Describe Group, Describe Topic", handle: typed((*Server).offsetFetch),
		shape: mustShape("s-7 [s <i>]-7 [s s9+ i9+ [s-9 u10+ <i>]]8+ b7+")},
	{key: 10, min: 0, max: 6, needs: "Describe Group", handle: typed((*Server).findCoordinator),
		shape: mustShape("s-3 b1+ <s>4+")},
	{key: keyApiVersions, min: 0, max: 4, needs: "", handle: (*Server).apiVersions,
		shape: mustShape("s3+ s3+")},
	{key: 19, min: 0, max: 7, needs: "Create Topic", handle: typed((*Server).createTopics),
		shape: mustShape("[s i h [i <i>] [s s]] i b1+")},
	{key: 20, min: 0, max: 6, needs: "Delete Topic", handle: typed((*Server).deleteTopics),
		shape: mustShape("<s>-5 [s u]6+ i")},
	{key: 21, min: 0, max: 2, needs: "Delete Topic", handle: typed((*Server).deleteRecords),
		shape: mustShape("[s [i q]] i")},
	{key: 22, min: 0, max: 5, needs: "IdempotentWrite Cluster", handle: typed((*Server).initProducerID),
		shape: mustShape("s i q3+ h3+")},
	{key: 23, min: 0, max: 4, needs: "Describe Topic", handle: typed((*Server).offsetForLeaderEpoch),
		shape: mustShape("i3+ [s [i i2+ i]]")},
	{key: 32, min: 0, max: 4, needs: "DescribeConfigs Topic, DescribeConfigs Cluster", handle: typed((*Server).describeConfigs),
		shape: mustShape("[b s <s>] b1+ b3+")},
	{key: 33, min: 0, max: 2, needs: "AlterConfigs Topic, AlterConfigs Cluster", handle: typed((*Server).alterConfigs),
		shape: mustShape("[b s [s s]] b")},
	{key: 35, min: 0, max: 4, needs: "Describe Cluster", handle: typed((*Server).describeLogDirs),
		shape: mustShape("[s <i>]")},
	{key: 37, min: 0, max: 3, needs: "Alter Topic", handle: typed((*Server).createPartitions),
		shape: mustShape("[s i [<i>]] i b")},
	{key: 44, min: 0, max: 1, needs: "AlterConfigs Topic, AlterConfigs Cluster", handle: typed((*Server).incrementalAlterConfigs),
		shape: mustShape("[b s [s b s]] b")},
	{key: 60, min: 0, max: 2, needs: "Describe Cluster", handle: typed((*Server).describeCluster),
		shape: mustShape("b b1+ b2+")},
	{key: 75, min: 0, max: 0, needs: "Describe Topic", handle: typed((*Server).describeTopicPartitions),
		shape: mustShape("[s] i {s i}")},
})

// lookup returns the row of a key, or nil.
func (s *Server) lookup(key int16) *api {
	for i := range s.apis {
		if s.apis[i].key == key {
			return &s.apis[i]
		}
	}
	return nil
}

// name is the protocol's name of the API.
func (a *api) name() string { return kmsg.NameForKey(a.key) }

// serves tells whether requests of that version are answered.
func (a *api) serves(version int16) bool { return version >= a.min && version <= a.max }

func withFlexible(rows []api) []api {
	for i := range rows {
		rows[i].flexible = math.MaxInt16
		req := kmsg.RequestForKey(rows[i].key)
		for v := rows[i].max; v >= 0; v-- {
			if req.SetVersion(v); req.IsFlexible() {
				rows[i].flexible = v
			}
		}
	}
	return rows
}
