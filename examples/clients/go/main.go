// A client of Spin Cycle in Go.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"

	spincycle "spincycle/v1"
)

const usage = `
    spincycle-client run TYPE [NAME=VALUE ...] [--key=KEY]   create, watch, print the log
    spincycle-client watch REQUEST [CURSOR]
    spincycle-client log REQUEST
    spincycle-client stop|suspend|resume REQUEST

Exit code: 0 done, 1 the request has not ended well, 2 refused, 3 nobody answers, 130 Ctrl-C.
`

func main() {
	// Ctrl-C cancels whatever is under way.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	managers, err := dial(setting("SPINC_ADDR", "127.0.0.1:32310"))
	if err != nil {
		fail(2, err)
	}
	jobLogs, err := dial(setting("SPINC_JOB_LOG", "127.0.0.1:32312"))
	if err != nil {
		fail(2, err)
	}
	client := newClient(managers, jobLogs)
	code, err := run(ctx, client, os.Args[1:])
	var failure *Failure
	switch {
	case err == nil:
		os.Exit(code)
	case ctx.Err() != nil:
		if client.watched != "" {
			fmt.Fprintln(os.Stderr, "left; go on with: watch", client.watched, client.cursor)
		}
		os.Exit(130)
	case errors.As(err, &failure) && isPassing(failure):
		fail(3, failure)
	default:
		fail(2, err)
	}
}

// run does what the command line says, and answers the exit code.
func run(ctx context.Context, client *Client, words []string) (int, error) {
	if len(words) < 2 {
		return 2, errors.New(usage)
	}
	verb, subject, rest := words[0], words[1], words[2:]
	switch verb {
	case "run":
		return create(ctx, client, subject, rest)
	case "watch":
		return printEnd(client.watch(ctx, subject, strings.Join(rest, "")))
	case "log":
		return 0, client.log(ctx, subject)
	}
	verbs := map[string]func(context.Context, string) (*spincycle.Request, error){
		"stop": client.stop, "suspend": client.suspend, "resume": client.resume,
	}
	act, found := verbs[verb]
	if !found {
		return 2, errors.New(usage)
	}
	request, err := act(ctx, subject)
	if err == nil {
		fmt.Println(request.GetId(), short(request.GetState()))
	}
	return 0, err
}

func create(ctx context.Context, client *Client, kind string, words []string) (int, error) {
	key, args := newKey(), map[string]interface{}{}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		if name == "--key" {
			key = value
		} else {
			args[name] = value
		}
	}
	fmt.Println("key", key)
	request, err := client.create(ctx, kind, args, key)
	if err != nil {
		return 0, err
	}
	fmt.Println("request", request.GetId())
	request, err = client.watch(ctx, request.GetId(), "")
	if err != nil {
		return 0, err
	}
	if err := client.log(ctx, request.GetId()); err != nil {
		return 0, err
	}
	return printEnd(request, nil)
}

func printEnd(request *spincycle.Request, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	fmt.Printf("ended %s %d/%d\n", short(request.GetState()), request.GetFinishedJobs(), request.GetTotalJobs())
	if request.GetState() != spincycle.State_STATE_COMPLETE {
		return 1, nil
	}
	return 0, nil
}

func newKey() string {
	bytes := make([]byte, 16)
	if _, err := rand.Read(bytes); err != nil {
		panic(err)
	}
	return hex.EncodeToString(bytes)
}

func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(code)
}
