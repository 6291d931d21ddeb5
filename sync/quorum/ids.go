package quorum

import (
	"crypto/rand"

	"github.com/culvert-mq/culvert/sync/meta"
)

// NewTopicID draws the random UUID of a new topic (RFC 9562, version 4). Its text does not begin with
// '-', which command lines would take for a flag.
func NewTopicID() meta.TopicID {
	for {
		var id meta.TopicID
		_, _ = rand.Read(id[:]) // never fails
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if id.String()[0] != '-' {
			return id
		}
	}
}

// NewClusterID draws the id of a new cluster: a UUID in 22 characters of base64url.
func NewClusterID() string { return NewTopicID().String() }
