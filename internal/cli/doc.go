// Package cli is the command line, holdfast: one file per noun, each a group of
// verbs that speaks to a server through the client, and so only through the ARM
// API.
//
// It promises: results go to standard output and everything else (choices made
// for the user, progress, errors) to standard error, so that --output json is
// always JSON and nothing else; a resource is printed as the server sent it;
// what is long shows its job, and Ctrl-C leaves the job alone and says how to
// follow it; the exit code says what kind of failure it was (see Exit). It
// keeps no state and holds no rule: what may be done, the server decides.
package cli
