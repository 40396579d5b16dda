// Package tidy checks the tree itself: imports run one way, by the table in
// docs/design/architecture.md; every package says what it is for; files and
// functions stay short; no word says that something is unfinished; no path of
// one machine stands in it; links in the documents lead somewhere; every
// dependency is accounted for. It is tests only.
//
// internal/tidy/summary reads the log of a test run: it counts, names what was
// skipped and the slowest packages, and fails when a test that has to run didn't.
package tidy
