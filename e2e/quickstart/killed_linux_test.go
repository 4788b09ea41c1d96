package quickstart

import (
	"os"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/wait"
)

// A quick start that is killed cannot stop Envoy, so the kernel must do it.
func TestKilled(t *testing.T) {
	p, _ := start(t)
	p.signal(os.Kill)
	<-p.exit
	wait.Gone(t, p.envoy)
}
