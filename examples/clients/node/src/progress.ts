// Shows what happens to a request, a line for each change, and what its jobs have written.

import type { JobLog } from "./generated/spincycle/v1/job_log.js";
import type { Request } from "./generated/spincycle/v1/request.js";
import type { RequestEvent } from "./generated/spincycle/v1/request_event.js";
import { State } from "./generated/spincycle/v1/state.js";
import type { JobStatus } from "./generated/spincycle/v1/status.js";

export const final: State[] = [State.STATE_COMPLETE, State.STATE_FAIL, State.STATE_STOPPED];

// RUNNING for STATE_RUNNING.
export function short(state: State): string {
  return state.replace("STATE_", "");
}

// Prints events. What a snapshot tells again is not printed again.
export class Progress {
  private readonly last = new Map<string, string>();

  // Prints what is new in an event: a snapshot, a change of the request, or of one job.
  show({ change }: RequestEvent): void {
    switch (change?.$case) {
      case "snapshot":
        if (change.value.request) this.showRequest(change.value.request);
        change.value.jobs.forEach((job) => this.showJob(job));
        break;
      case "request":
        this.showRequest(change.value);
        break;
      case "job":
        this.showJob(change.value);
    }
  }

  private showRequest(request: Request): void {
    this.tell(request.id, short(request.state));
  }

  private showJob(job: JobStatus): void {
    this.tell(job.jobId, `${job.name} ${short(job.state)} try ${job.tryNumber}`);
  }

  private tell(what: string, line: string): void {
    if (this.last.get(what) === line) return;
    this.last.set(what, line);
    console.log(what, line);
  }
}

// Prints one finished try of a job, as the journal has it.
export function showEntry(entry: JobLog): void {
  console.log(`log ${entry.jobId} ${entry.name} ${short(entry.state)} try ${entry.tryNumber}`);
  const lines = [entry.error, ...entry.stdout.split("\n"), ...entry.stderr.split("\n")];
  for (const line of lines) if (line) console.log(`  ${line}`);
}
