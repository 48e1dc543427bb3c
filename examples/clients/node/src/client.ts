// What can be asked of the request managers and the job logs.

import {
  type CallOptions,
  type ClientReadableStream,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import { jobLogs, options, requestManagers, target } from "./channel.js";
import { Failure } from "./failure.js";
import { JobLogServiceClient, TailRequest } from "./generated/spincycle/v1/job_log_service.js";
import type { Request } from "./generated/spincycle/v1/request.js";
import {
  CreateRequest,
  GetRequest,
  RequestManagerServiceClient,
  ResumeRequest,
  StopRequest,
  SuspendRequest,
  WatchRequest,
} from "./generated/spincycle/v1/request_manager_service.js";
import { callTimeout, Patience } from "./patience.js";
import { final, Progress, showEntry } from "./progress.js";

type Unary<Asked, Answered> = (
  asked: Asked,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, answer: Answered) => void,
) => ClientUnaryCall;

export class Client {
  // What is being watched, and the cursor of the last event that was seen.
  watched = { requestId: "", cursor: "" };

  private readonly manager = new RequestManagerServiceClient(
    target(requestManagers),
    credentials.createInsecure(),
    options,
  );
  private readonly jobLog = new JobLogServiceClient(
    target(jobLogs),
    credentials.createInsecure(),
    options,
  );

  // `signal` ends whatever is under way.
  constructor(private readonly signal: AbortSignal) {}

  close(): void {
    this.manager.close();
    this.jobLog.close();
  }

  // Makes a request, or finds the one that an earlier call with this key has made.
  async create(type: string, args: Record<string, string>, key: string): Promise<Request> {
    const message = CreateRequest.fromPartial({ type, args, idempotencyKey: key });
    return given(await this.ask(this.manager.create.bind(this.manager), message));
  }

  // Answers a request as it is now.
  async get(requestId: string): Promise<Request> {
    const message = GetRequest.fromPartial({ requestId });
    return given(await this.ask(this.manager.get.bind(this.manager), message));
  }

  // Ends a request for good.
  async stop(requestId: string): Promise<Request> {
    const message = StopRequest.fromPartial({ requestId, reason: "stopped by the example" });
    return given(await this.ask(this.manager.stop.bind(this.manager), message));
  }

  // Halts a request, with all that it has done saved.
  async suspend(requestId: string): Promise<Request> {
    const message = SuspendRequest.fromPartial({ requestId, reason: "suspended by the example" });
    return given(await this.ask(this.manager.suspend.bind(this.manager), message));
  }

  // Lets a suspended request go on.
  async resume(requestId: string): Promise<Request> {
    const message = ResumeRequest.fromPartial({ requestId });
    return given(await this.ask(this.manager.resume.bind(this.manager), message));
  }

  // Shows every change of a request until it has ended, over as many streams as it takes.
  async watch(requestId: string, cursor = ""): Promise<Request> {
    this.watched = { requestId, cursor };
    const progress = new Progress();
    const patience = new Patience();
    for (;;) {
      // A stream may be silent for days, so it has no deadline; keepalive guards it.
      const message = WatchRequest.fromPartial({ requestIds: [requestId], cursor: this.watched.cursor });
      try {
        for await (const answer of this.read(this.manager.watch(message))) {
          for (const event of answer.events) {
            progress.show(event);
            this.watched.cursor = event.cursor || this.watched.cursor;
            patience.renew();
          }
        }
        const request = await this.get(requestId);
        if (final.includes(request.state)) return request;
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        if (error.reason === "CURSOR_TOO_OLD") {
          this.watched.cursor = ""; // What lies between is lost: begin with a snapshot.
        } else if (error.reason !== "WATCHER_TOO_SLOW" && !error.isPassing) {
          throw error;
        }
        if (patience.isOver) throw error;
        console.error(`lost: ${error.reason}: ${error.message}`);
      }
      await patience.wait(this.signal);
    }
  }

  // Shows all finished tries of a request's jobs.
  async log(requestId: string): Promise<void> {
    let afterPosition = 0n;
    const patience = new Patience();
    for (;;) {
      const message = TailRequest.fromPartial({ requestId, afterPosition, includeOutput: true });
      try {
        const call = this.jobLog.tail(message, { deadline: Date.now() + 60_000 });
        for await (const { events } of this.read(call)) {
          for (const { item } of events) {
            if (item?.$case !== "entry") continue;
            showEntry(item.value);
            afterPosition = item.value.position;
          }
          patience.renew();
        }
        return;
      } catch (error) {
        if (!(error instanceof Failure) || !error.isPassing || patience.isOver) throw error;
      }
      await patience.wait(this.signal);
    }
  }

  // Calls until somebody answers. All that is asked here may be asked twice.
  private async ask<Asked, Answered>(call: Unary<Asked, Answered>, message: Asked): Promise<Answered> {
    const patience = new Patience();
    for (;;) {
      try {
        return await this.once(call, message);
      } catch (error) {
        if (!(error instanceof Failure) || !error.isPassing || patience.isOver) throw error;
      }
      await patience.wait(this.signal);
    }
  }

  private once<Asked, Answered>(call: Unary<Asked, Answered>, message: Asked): Promise<Answered> {
    this.signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const deadline = Date.now() + callTimeout;
      const running = call(message, new Metadata(), { deadline }, (error, answer) => {
        this.signal.removeEventListener("abort", cancel);
        if (this.signal.aborted) reject(this.signal.reason);
        else if (error) reject(new Failure(error));
        else resolve(answer);
      });
      const cancel = () => running.cancel();
      this.signal.addEventListener("abort", cancel);
    });
  }

  private async *read<Answered>(call: ClientReadableStream<Answered>): AsyncGenerator<Answered> {
    this.signal.throwIfAborted();
    const cancel = () => call.cancel();
    this.signal.addEventListener("abort", cancel);
    try {
      yield* call;
    } catch (error) {
      this.signal.throwIfAborted();
      throw new Failure(error as ServiceError);
    } finally {
      this.signal.removeEventListener("abort", cancel);
      cancel();
    }
  }
}

// Protobuf has no required fields, but every answer here has its request.
function given({ request }: { request?: Request | undefined }): Request {
  if (!request) throw new TypeError("an answer without a request");
  return request;
}
