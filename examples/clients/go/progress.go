package main

import (
	"fmt"
	"strings"

	spincycle "spincycle/v1"
)

// short answers RUNNING for STATE_RUNNING.
func short(state spincycle.State) string {
	return strings.TrimPrefix(state.String(), "STATE_")
}

func isFinal(state spincycle.State) bool {
	switch state {
	case spincycle.State_STATE_COMPLETE, spincycle.State_STATE_FAIL, spincycle.State_STATE_STOPPED:
		return true
	}
	return false
}

// Progress prints what happens to a request, a line for each change. What a snapshot tells
// again is not printed again.
type Progress map[string]string

// show prints what is new in an event: a snapshot, a change of the request, or of one job.
func (p Progress) show(event *spincycle.RequestEvent) {
	switch change := event.GetChange().(type) {
	case *spincycle.RequestEvent_Snapshot:
		p.showRequest(change.Snapshot.GetRequest())
		for _, job := range change.Snapshot.GetJobs() {
			p.showJob(job)
		}
	case *spincycle.RequestEvent_Request:
		p.showRequest(change.Request)
	case *spincycle.RequestEvent_Job:
		p.showJob(change.Job)
	}
}

func (p Progress) showRequest(request *spincycle.Request) {
	p.tell(request.GetId(), short(request.GetState()))
}

func (p Progress) showJob(job *spincycle.JobStatus) {
	p.tell(job.GetJobId(), fmt.Sprintf("%s %s try %d", job.GetName(), short(job.GetState()), job.GetTryNumber()))
}

func (p Progress) tell(what, line string) {
	if p[what] != line {
		p[what] = line
		fmt.Println(what, line)
	}
}

// showEntry prints one finished try of a job, as the journal has it.
func showEntry(entry *spincycle.JobLog) {
	fmt.Println("log", entry.GetJobId(), entry.GetName(), short(entry.GetState()), "try", entry.GetTryNumber())
	written := strings.Join([]string{entry.GetError(), entry.GetStdout(), entry.GetStderr()}, "\n")
	for _, line := range strings.Split(written, "\n") {
		if line != "" {
			fmt.Println(" ", line)
		}
	}
}
