#!/bin/sh
# Gives Streamlatch a user in etcd that may read and write its own keys, and nothing else.
#
#   etcd.sh NAME [PREFIX]
#
# NAME is the common name of the client certificate of your Envoys. PREFIX is "fleet.prefix" of the
# filter's configuration; the default is streamlatch. etcdctl must reach etcd as its root: set
# ETCDCTL_ENDPOINTS, ETCDCTL_CACERT, ETCDCTL_CERT and ETCDCTL_KEY.
#
# etcd checks these rights only after `etcdctl auth enable`, and takes the name from the certificate
# only with --client-cert-auth. Before that, everyone who reaches etcd may do everything.
set -eu

name=${1:?usage: etcd.sh NAME [PREFIX]}
prefix=${2:-streamlatch}
export ETCDCTL_API=3

etcdctl role add "$name"
etcdctl role grant-permission "$name" --prefix=true readwrite "$prefix/"
etcdctl user add "$name" --no-password
etcdctl user grant-role "$name" "$name"
