#!/bin/sh
# Makes a user and a role in etcd for Streamlatch. They may read and write its keys, and nothing else.
#
#   etcd.sh NAME [PREFIX]
#
# NAME is the common name of the client certificate of your Envoys. PREFIX is "fleet.prefix" of the
# filter's configuration; the default is streamlatch. etcdctl must reach etcd as its user root: set
# ETCDCTL_ENDPOINTS, ETCDCTL_CACERT, ETCDCTL_CERT and ETCDCTL_KEY.
#
# etcd checks rights only after `etcdctl auth enable`: before it, anyone who reaches etcd may do
# everything. etcd takes the user's name from the certificate only with --client-cert-auth.
set -eu

name=${1:?usage: etcd.sh NAME [PREFIX]}
prefix=${2:-streamlatch}
export ETCDCTL_API=3

etcdctl role add "$name"
etcdctl role grant-permission "$name" --prefix=true readwrite "$prefix/"
etcdctl user add "$name" --no-password
etcdctl user grant-role "$name" "$name"
