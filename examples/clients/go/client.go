package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
	spincycle "spincycle/v1"
)

// Client is what can be asked of the request managers and the job logs.
type Client struct {
	manager spincycle.RequestManagerServiceClient
	jobLog  spincycle.JobLogServiceClient
	// What is being watched, and the cursor of the last event that was seen.
	watched, cursor string
}

func newClient(managers, jobLogs grpc.ClientConnInterface) *Client {
	return &Client{
		manager: spincycle.NewRequestManagerServiceClient(managers),
		jobLog:  spincycle.NewJobLogServiceClient(jobLogs),
	}
}

// create makes a request, or finds the one that an earlier call with this key has made.
func (c *Client) create(ctx context.Context, kind string, args map[string]interface{}, key string) (*spincycle.Request, error) {
	values, err := structpb.NewStruct(args)
	if err != nil {
		return nil, err
	}
	message := &spincycle.CreateRequest{Type: kind, Args: values, IdempotencyKey: key}
	return ask(ctx, c.manager.Create, message)
}

// get answers a request as it is now.
func (c *Client) get(ctx context.Context, id string) (*spincycle.Request, error) {
	return ask(ctx, c.manager.Get, &spincycle.GetRequest{RequestId: id})
}

// stop ends a request for good.
func (c *Client) stop(ctx context.Context, id string) (*spincycle.Request, error) {
	return ask(ctx, c.manager.Stop, &spincycle.StopRequest{RequestId: id, Reason: "stopped by the example"})
}

// suspend halts a request, with all that it has done saved.
func (c *Client) suspend(ctx context.Context, id string) (*spincycle.Request, error) {
	return ask(ctx, c.manager.Suspend, &spincycle.SuspendRequest{RequestId: id, Reason: "suspended by the example"})
}

// resume lets a suspended request go on.
func (c *Client) resume(ctx context.Context, id string) (*spincycle.Request, error) {
	return ask(ctx, c.manager.Resume, &spincycle.ResumeRequest{RequestId: id})
}

// watch shows every change of a request until it has ended, over as many streams as it takes.
func (c *Client) watch(ctx context.Context, id, cursor string) (*spincycle.Request, error) {
	c.watched, c.cursor = id, cursor
	progress, patience := Progress{}, newPatience()
	for {
		err := c.follow(ctx, progress, patience)
		if err == nil {
			request, err := c.get(ctx, id)
			if err != nil || isFinal(request.GetState()) {
				return request, err
			}
		}
		var failure *Failure
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !errors.As(err, &failure):
		case failure.Reason == "CURSOR_TOO_OLD":
			c.cursor = "" // What lies between is lost: begin with a snapshot.
		case failure.Reason != "WATCHER_TOO_SLOW" && !isPassing(failure):
			return nil, failure
		}
		if failure != nil {
			if patience.isOver() {
				return nil, failure
			}
			fmt.Fprintf(os.Stderr, "lost: %s: %s\n", failure.Reason, failure.Message)
		}
		if err := patience.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// follow shows the events of one stream; nil means that the stream has ended as it should.
func (c *Client) follow(ctx context.Context, progress Progress, patience *Patience) error {
	// Cancelling ends the stream whichever way this returns. A stream may be silent for days,
	// so it has no deadline; keepalive guards it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	message := &spincycle.WatchRequest{RequestIds: []string{c.watched}, Cursor: c.cursor}
	stream, err := c.manager.Watch(ctx, message)
	if err != nil {
		return failureOf(err)
	}
	for {
		answer, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return failureOf(err)
		}
		for _, event := range answer.GetEvents() {
			progress.show(event)
			if event.GetCursor() != "" {
				c.cursor = event.GetCursor()
			}
			patience.renew()
		}
	}
}

// log shows all finished tries of a request's jobs.
func (c *Client) log(ctx context.Context, id string) error {
	position, patience := uint64(0), newPatience()
	for {
		err := c.tail(ctx, id, &position, patience)
		if err == nil || ctx.Err() != nil || !isPassing(err) || patience.isOver() {
			return err
		}
		if err := patience.wait(ctx); err != nil {
			return err
		}
	}
}

func (c *Client) tail(ctx context.Context, id string, position *uint64, patience *Patience) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	stream, err := c.jobLog.Tail(ctx, &spincycle.TailRequest{
		RequestId: id, AfterPosition: *position, IncludeOutput: true,
	})
	if err != nil {
		return failureOf(err)
	}
	for {
		answer, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return failureOf(err)
		}
		for _, event := range answer.GetEvents() {
			if entry := event.GetEntry(); entry != nil {
				showEntry(entry)
				*position = entry.GetPosition()
			}
		}
		patience.renew()
	}
}

// ask calls until somebody answers. All that is asked here may be asked twice.
func ask[Asked any, Answered interface{ GetRequest() *spincycle.Request }](
	ctx context.Context,
	call func(context.Context, *Asked, ...grpc.CallOption) (Answered, error),
	message *Asked,
) (*spincycle.Request, error) {
	for patience := newPatience(); ; {
		once, cancel := context.WithTimeout(ctx, callTimeout)
		answer, err := call(once, message)
		cancel()
		if err == nil {
			return answer.GetRequest(), nil
		}
		failure := failureOf(err)
		if ctx.Err() != nil || !isPassing(failure) || patience.isOver() {
			return nil, failure
		}
		if err := patience.wait(ctx); err != nil {
			return nil, err
		}
	}
}
