// How long one call may take, and how long to go on calling while nobody answers.

import { setTimeout as sleep } from "node:timers/promises";

export const callTimeout = Number(process.env.SPINC_TIMEOUT ?? 5_000);
const patience = Number(process.env.SPINC_PATIENCE ?? 60_000);
const longestPause = 2_000;

// Counts the time since a service was last heard, and the pauses between attempts.
export class Patience {
  private until = 0;
  private pause = 0;

  constructor() {
    this.renew();
  }

  // Starts over after a response.
  renew(): void {
    this.until = Date.now() + patience;
    this.pause = 100;
  }

  // Whether it is time to give up.
  get isOver(): boolean {
    return Date.now() >= this.until;
  }

  // Waits before the next attempt: longer each time, and not all clients at once.
  async wait(signal: AbortSignal): Promise<void> {
    this.pause = Math.min(2 * this.pause, longestPause);
    await sleep(this.pause * (0.5 + Math.random() / 2), undefined, { signal });
  }
}
