// The Go client against the broker that the name server knows:
//
//	go-client NAMESRV PREFIX SCENARIO...
//
// A scenario S uses topic PREFIX-S with 4 queues and group PREFIX-S-g, which
// must be there; a line of TAP is printed for each.
package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const limit = 60 * time.Second

var scenarios = map[string]func(*kit){
	"tags":      tags,
	"broadcast": broadcast,
	"orderly":   orderly,
	"retry":     retry,
	"resume":    resume,
	"ways":      ways,
	"large":     large,
	"pull":      pull,
	"missing":   missing,
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: go-client NAMESRV PREFIX SCENARIO...")
		os.Exit(2)
	}
	if os.Getenv("ROCKETMQ_GO_LOG_LEVEL") == "" {
		rlog.SetLogLevel("fatal")
	}
	failed := 0
	for _, name := range os.Args[3:] {
		start := time.Now()
		why := run(&kit{namesrv: os.Args[1], prefix: os.Args[2], scenario: name})
		if why == "" {
			fmt.Printf("ok - %s (%d ms)\n", name, time.Since(start).Milliseconds())
			continue
		}
		failed++
		fmt.Printf("not ok - %s\n# %s\n", name, strings.ReplaceAll(why, "\n", "\n# "))
	}
	if failed > 0 {
		os.Exit(1)
	}
}

// failure is what fail panics with; other panics are shown the same way.
type failure string

func fail(format string, args ...interface{}) {
	panic(failure(fmt.Sprintf(format, args...)))
}

// run returns "", or why the scenario failed.
func run(k *kit) (why string) {
	scenario, ok := scenarios[k.scenario]
	if !ok {
		return "there is no scenario of that name"
	}
	done := make(chan string, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Sprint(r)
			}
		}()
		defer k.close()
		scenario(k)
		done <- ""
	}()
	select {
	case why = <-done:
	case <-time.After(limit):
		why = fmt.Sprintf("not done after %v", limit)
	}
	return why
}

// kit is what a scenario works with.
type kit struct {
	namesrv, prefix, scenario string
	mu                        sync.Mutex
	clients                   int
	closers                   []func() error
}

func (k *kit) topic() string { return k.prefix + "-" + k.scenario }
func (k *kit) group() string { return k.topic() + "-g" }

// instance keeps clients of one process apart: those of one name share a
// client id, and two consumers of a group must not.
func (k *kit) instance() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.clients++
	return fmt.Sprintf("%s%d", k.scenario, k.clients)
}

func (k *kit) close() {
	for i := len(k.closers) - 1; i >= 0; i-- {
		if err := k.closers[i](); err != nil {
			fmt.Println("# shutdown:", err)
		}
	}
}

func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func same(what string, expected, got interface{}) {
	if fmt.Sprint(expected) != fmt.Sprint(got) {
		fail("%s: expected %v, got %v", what, expected, got)
	}
}

// await polls the condition, which says "" when it holds, else what is there.
func await(what string, condition func() string) {
	end := time.Now().Add(45 * time.Second)
	for {
		is := condition()
		if is == "" {
			return
		}
		if time.Now().After(end) {
			fail("waited in vain for %s; there is %s", what, is)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
