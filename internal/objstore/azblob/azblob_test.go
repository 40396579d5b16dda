package azblob_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/azblob"
	"holdfast/internal/objstore/objstoretest"
	"holdfast/internal/objstore/servertest"
)

var containers atomic.Int64

func newContainer(t *testing.T, endpoint string) string {
	t.Helper()
	key, err := container.NewSharedKeyCredential(servertest.AzureAccount, servertest.AzureKey)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("container-%d", containers.Add(1))
	c, err := container.NewClientWithSharedKeyCredential(endpoint+"/"+name, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	return name
}

func open(t *testing.T, c azblob.Config) *azblob.Store {
	t.Helper()
	c.Account, c.Key = servertest.AzureAccount, servertest.AzureKey
	s, err := azblob.Open(t.Context(), c, "azblob://"+c.Account+"/"+c.Container)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	url := servertest.Azurite(t)
	t.Run("plain", func(t *testing.T) {
		objstoretest.Run(t, func(t *testing.T) objstore.Store {
			return open(t, azblob.Config{Endpoint: url, Container: newContainer(t, url)})
		})
	})
	t.Run("prefix", func(t *testing.T) {
		c := newContainer(t, url)
		objstoretest.Run(t, func(t *testing.T) objstore.Store {
			return open(t, azblob.Config{Endpoint: url, Container: c, Prefix: fmt.Sprintf("deep/%d", containers.Add(1))})
		})
	})
}
