package main

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Failure is what a failed call says.
type Failure struct {
	Code    codes.Code
	Message string
	// Stable name from google.rpc.ErrorInfo; the code's name if gRPC itself failed.
	Reason string
	// The values in the message, from google.rpc.ErrorInfo.
	Metadata map[string]string
	// Field and what is wrong with it, from google.rpc.BadRequest.
	Violations []*errdetails.BadRequest_FieldViolation
}

// failureOf reads the details, which travel beside the status code.
func failureOf(err error) *Failure {
	said := status.Convert(err)
	failure := &Failure{Code: said.Code(), Message: said.Message(), Reason: nameOf(said.Code())}
	for _, detail := range said.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			failure.Reason, failure.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.BadRequest:
			failure.Violations = detail.GetFieldViolations()
		}
	}
	return failure
}

// nameOf answers a code's name as gRPC spells it on the wire.
func nameOf(code codes.Code) string {
	switch code {
	case codes.Unavailable:
		return "UNAVAILABLE"
	case codes.DeadlineExceeded:
		return "DEADLINE_EXCEEDED"
	}
	return code.String()
}

// isPassing tells whether a call that failed in this way may well succeed if it is made again.
func isPassing(err error) bool {
	var failure *Failure
	if !errors.As(err, &failure) {
		return false
	}
	switch failure.Code {
	// What is left of a call whose server has died can also look like the last two.
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown:
		return true
	}
	return false
}

// Error answers everything that a person needs, a line each.
func (f *Failure) Error() string {
	lines := []string{fmt.Sprintf("error: %s: %s", f.Reason, f.Message)}
	for _, violation := range f.Violations {
		lines = append(lines, fmt.Sprintf("  %s: %s", violation.GetField(), violation.GetDescription()))
	}
	return strings.Join(append(lines, "  "+f.advice()), "\n")
}

// advice says what the person who called can do.
func (f *Failure) advice() string {
	switch f.Reason {
	case "INVALID_STATE":
		return fmt.Sprintf("the request is %s; only %s will do", f.Metadata["state"], f.Metadata["expected"])
	case "IDEMPOTENCY_CONFLICT":
		return fmt.Sprintf("watch %s, or take a new key for a new request", f.Metadata["request_id"])
	case "UNKNOWN_REQUEST_TYPE":
		return "`spinc` without arguments lists what can be asked for"
	case "REQUEST_NOT_FOUND":
		return "check the id; `spinc find` lists requests"
	}
	switch f.Code {
	case codes.InvalidArgument:
		return "correct what is named above"
	case codes.Unavailable, codes.DeadlineExceeded:
		return "nobody answers now: run the same line again later, with the same key"
	}
	return "this program does not know better"
}
