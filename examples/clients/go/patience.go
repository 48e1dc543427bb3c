package main

import (
	"context"
	"math/rand"
	"strconv"
	"time"
)

const longestPause = 2 * time.Second

var (
	callTimeout  = milliseconds("SPINC_TIMEOUT", "5000")
	longPatience = milliseconds("SPINC_PATIENCE", "60000")
)

// Patience counts the time since a service was last heard, and the pauses between attempts.
type Patience struct {
	until time.Time
	pause time.Duration
}

func newPatience() *Patience {
	patience := &Patience{}
	patience.renew()
	return patience
}

// renew starts over after a response.
func (p *Patience) renew() {
	p.until, p.pause = time.Now().Add(longPatience), 100*time.Millisecond
}

// isOver tells whether it is time to give up.
func (p *Patience) isOver() bool {
	return !time.Now().Before(p.until)
}

// wait waits before the next attempt: longer each time, and not all clients at once.
func (p *Patience) wait(ctx context.Context) error {
	if p.pause *= 2; p.pause > longestPause {
		p.pause = longestPause
	}
	select {
	case <-time.After(p.pause/2 + time.Duration(rand.Int63n(int64(p.pause/2)))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func milliseconds(name, otherwise string) time.Duration {
	number, err := strconv.Atoi(setting(name, otherwise))
	if err != nil {
		panic(name + " is no number of milliseconds")
	}
	return time.Duration(number) * time.Millisecond
}
