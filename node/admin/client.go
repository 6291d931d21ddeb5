package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// ErrAnswer is what every error wraps that means: something answered, but not a culvert node as it should.
var ErrAnswer = errors.New("unexpected answer")

// maxStatusBytes bounds the status that is read: room for some hundred thousand partitions.
const maxStatusBytes = 64 << 20

// FetchStatus asks the node at address, host:port or a URL, for its status.
func FetchStatus(ctx context.Context, address string) (*Status, error) {
	url := address
	if !strings.Contains(url, "://") {
		url = "http://" + url
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/status", http.NoBody)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %s", ErrAnswer, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxStatusBytes+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxStatusBytes {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrAnswer, maxStatusBytes)
	}
	var s Status
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return &s, nil
}
