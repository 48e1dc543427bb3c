// What a failed call says: a stable reason, the fields at fault, and what to do about it.

import { type ServiceError, status } from "@grpc/grpc-js";
import { BadRequest, ErrorInfo } from "./generated/google/rpc/error_details.js";
import { Status } from "./generated/google/rpc/status.js";

const passing = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  // What is left of a call whose server has died can also look like these.
  status.CANCELLED,
  status.UNKNOWN,
]);

export class Failure extends Error {
  readonly code: status;
  // Stable name from google.rpc.ErrorInfo; the code's name if gRPC itself failed.
  readonly reason: string;
  // The values in the message, from google.rpc.ErrorInfo.
  readonly metadata: Record<string, string> = {};
  // Field and what is wrong with it, from google.rpc.BadRequest.
  readonly violations: { field: string; description: string }[] = [];

  // Reads the details, which travel beside the status code.
  constructor(error: ServiceError) {
    super(error.details);
    this.code = error.code;
    this.reason = status[error.code];
    const [packed] = error.metadata?.get("grpc-status-details-bin") ?? [];
    if (!(packed instanceof Buffer)) return;
    for (const detail of Status.decode(packed).details) {
      if (detail.typeUrl.endsWith("/google.rpc.ErrorInfo")) {
        const info = ErrorInfo.decode(detail.value);
        this.reason = info.reason;
        this.metadata = info.metadata;
      } else if (detail.typeUrl.endsWith("/google.rpc.BadRequest")) {
        this.violations = BadRequest.decode(detail.value).fieldViolations;
      }
    }
  }

  // Whether the same call, made again, may well succeed.
  get isPassing(): boolean {
    return passing.has(this.code);
  }

  // Everything a person needs, a line each.
  get explained(): string {
    return [
      `error: ${this.reason}: ${this.message}`,
      ...this.violations.map(({ field, description }) => `  ${field}: ${description}`),
      `  ${this.advice}`,
    ].join("\n");
  }

  // What the person who called can do.
  get advice(): string {
    switch (this.reason) {
      case "INVALID_STATE":
        return `the request is ${this.metadata.state}; only ${this.metadata.expected} will do`;
      case "IDEMPOTENCY_CONFLICT":
        return `watch ${this.metadata.request_id}, or take a new key for a new request`;
      case "UNKNOWN_REQUEST_TYPE":
        return "`spinc` without arguments lists what can be asked for";
      case "REQUEST_NOT_FOUND":
        return "check the id; `spinc find` lists requests";
    }
    switch (this.code) {
      case status.INVALID_ARGUMENT:
        return "correct what is named above";
      case status.UNAVAILABLE:
      case status.DEADLINE_EXCEEDED:
        return "nobody answers now: run the same line again later, with the same key";
    }
    return "this program does not know better";
  }
}
