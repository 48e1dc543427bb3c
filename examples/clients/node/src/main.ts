// A client of Spin Cycle on Node.js.

import { randomUUID } from "node:crypto";
import { Client } from "./client.js";
import { Failure } from "./failure.js";
import type { Request } from "./generated/spincycle/v1/request.js";
import { short } from "./progress.js";

const usage = `
    main.js run TYPE [NAME=VALUE ...] [--key=KEY]   create, watch, print the log
    main.js watch REQUEST [CURSOR]
    main.js log REQUEST
    main.js stop|suspend|resume REQUEST

Exit code: 0 done, 1 the request has not ended well, 2 refused, 3 nobody answers, 130 Ctrl-C.
`;

// Does what the command line says; answers the exit code.
async function run(client: Client, [verb, subject, ...rest]: string[]): Promise<number> {
  if (!subject) {
    console.error(usage);
    return 2;
  }
  switch (verb) {
    case "run": {
      const key = rest.find((word) => word.startsWith("--key="))?.slice(6) ?? randomUUID();
      const pairs = rest.filter((word) => !word.startsWith("--")).map((word) => word.split(/=(.*)/s));
      console.log("key", key);
      const { id } = await client.create(subject, Object.fromEntries(pairs), key);
      console.log("request", id);
      const request = await client.watch(id);
      await client.log(id);
      return tell(request);
    }
    case "watch":
      return tell(await client.watch(subject, rest[0]));
    case "log":
      await client.log(subject);
      return 0;
    case "stop":
    case "suspend":
    case "resume": {
      const request = await client[verb](subject);
      console.log(request.id, short(request.state));
      return 0;
    }
  }
  console.error(usage);
  return 2;
}

function tell(request: Request): number {
  console.log(`ended ${short(request.state)} ${request.finishedJobs}/${request.totalJobs}`);
  return short(request.state) === "COMPLETE" ? 0 : 1;
}

const interrupted = new AbortController();
process.once("SIGINT", () => interrupted.abort());

const words = process.argv.slice(2);
const client = new Client(interrupted.signal);
try {
  process.exitCode = await run(client, words);
} catch (error) {
  if (interrupted.signal.aborted) {
    const { requestId, cursor } = client.watched;
    if (requestId) console.error(`left; go on with: watch ${requestId} ${cursor}`);
    process.exitCode = 130;
  } else if (error instanceof Failure) {
    console.error(error.explained);
    process.exitCode = error.isPassing ? 3 : 2;
  } else {
    throw error;
  }
} finally {
  client.close();
}
