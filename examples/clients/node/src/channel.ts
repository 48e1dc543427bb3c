// How to reach the services: every address, a retry policy, and a check that the peer lives.

import type { ChannelOptions } from "@grpc/grpc-js";

export const requestManagers = process.env.SPINC_ADDR ?? "127.0.0.1:32310";
export const jobLogs = process.env.SPINC_JOB_LOG ?? "127.0.0.1:32312";

const serviceConfig = {
  // Any copy answers any call: take them in turn, and leave out those that are away.
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [
    {
      // gRPC itself repeats these, since repeating them changes nothing: Create has a key.
      name: ["Create", "Get", "Stop", "Suspend", "Resume"].map((method) => ({
        service: "spincycle.v1.RequestManagerService",
        method,
      })),
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.1s",
        maxBackoff: "1s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
};

export const options: ChannelOptions = {
  "grpc.service_config": JSON.stringify(serviceConfig),
  // A peer that hangs, or whose machine is gone, is found out by a ping without an answer.
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.max_reconnect_backoff_ms": 2_000,
};

// `host:port,host:port` as gRPC resolves it; a DNS name with many records works as well.
export function target(addresses: string): string {
  return /^\d/.test(addresses) ? `ipv4:${addresses}` : addresses;
}
