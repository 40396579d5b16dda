// Command holdfast backs up libvirt/QEMU virtual machines and brings them back:
// the server, the command line that drives it, and tools that need no server,
// in one binary. It only joins them; see internal/cli for what the command line
// promises.
package main

import (
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"holdfast/internal/cli"
	"holdfast/internal/cli/repository"
	"holdfast/internal/cli/store"
)

// memory is when Go collects garbage harder instead of taking more, bytes: a soft
// limit that keeps the peak of any command below 512 MiB (docs/design/measurements.md;
// C and the kernel take the rest). GOMEMLIMIT says another.
const memory = 384 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory)
	}
	// A goroutine that compresses in C holds one of Go's processors until it is
	// through; two more let those that read, seal and store go on meanwhile
	// (docs/design/measurements.md).
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2)
	os.Exit(cli.Run(cli.Root(commands()...), os.Args[1:]))
}

// commands are those that do not speak to a server.
func commands() []*cobra.Command {
	return []*cobra.Command{serveCommand(), catalogCommand(), watchdogCommand(), repository.Command(), store.Command()}
}
