package quickstart

import (
	"os"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/wait"
)

// If the quick start is killed, it cannot stop Envoy. The kernel does it.
func TestKilled(t *testing.T) {
	p, _ := start(t)
	p.signal(os.Kill)
	<-p.exit
	wait.Gone(t, p.envoy)
}
