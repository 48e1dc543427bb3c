package main

import (
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// Any copy answers any call: round_robin takes them in turn and leaves out those that are
// away. gRPC itself repeats the methods named here, since repeating them changes nothing:
// Create has a key.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "methodConfig": [{
    "name": [
      {"service": "spincycle.v1.RequestManagerService", "method": "Create"},
      {"service": "spincycle.v1.RequestManagerService", "method": "Get"},
      {"service": "spincycle.v1.RequestManagerService", "method": "Stop"},
      {"service": "spincycle.v1.RequestManagerService", "method": "Suspend"},
      {"service": "spincycle.v1.RequestManagerService", "method": "Resume"}
    ],
    "retryPolicy": {
      "maxAttempts": 4,
      "initialBackoff": "0.1s",
      "maxBackoff": "1s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
}`

// dial opens a channel to all of the addresses, "host:port,host:port". With a DNS name that
// has many records, grpc.Dial("dns:///name:port", …) does the same.
func dial(addresses string) (*grpc.ClientConn, error) {
	list := manual.NewBuilderWithScheme("list")
	state := resolver.State{}
	for _, address := range strings.Split(addresses, ",") {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: address})
	}
	list.InitialState(state)
	pauses := backoff.DefaultConfig
	pauses.BaseDelay = 100 * time.Millisecond
	pauses.MaxDelay = 2 * time.Second
	return grpc.Dial("list:///",
		grpc.WithResolvers(list),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: pauses, MinConnectTimeout: 2 * time.Second}),
		// A peer that hangs, or whose machine is gone, is found out by a ping without an answer.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithInsecure(),
	)
}

// setting answers an environment variable, or what holds without it.
func setting(name, otherwise string) string {
	if value, found := os.LookupEnv(name); found {
		return value
	}
	return otherwise
}
