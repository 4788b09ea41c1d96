package quickstart

import (
	"os"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/wait"
)

// A quick start that is killed can stop nothing; the kernel does.
func TestKilled(t *testing.T) {
	p, _ := start(t)
	p.signal(os.Kill)
	<-p.exit
	wait.Gone(t, p.envoy)
}
