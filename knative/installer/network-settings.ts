import { z } from 'zod';

const namespaces = z.array(
  z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'expected the name of a namespace'),
);
const networks = z.array(z.union([z.cidrv4(), z.cidrv6()], 'expected networks such as 10.0.0.0/8'));
const ports = z.array(z.int().min(1).max(65_535)).min(1);

/** What a cluster's network has elsewhere than knative/base/network.yaml says. `about` of each is a comment in the file. */
export const networkSchema = z.strictObject({
  ingressNamespaces: namespaces.optional().describe("of Knative's activator, its ingress's gateways, and no others"),
  ingressAddresses: networks.optional().describe("of an ingress in its nodes' network, which is in no namespace"),
  dnsNamespaces: namespaces.optional().describe("of the cluster's DNS (kube-system, openshift-dns)"),
  dnsAddresses: networks.optional().describe('of a DNS cache on each node (169.254.20.10/32)'),
  apiAddresses: networks.optional().describe('of the Kubernetes API server (any)'),
  apiPorts: ports.optional().describe('its ports, as its endpoints have them (443, 6443)'),
  databaseAddresses: networks.optional().describe('of PostgreSQL outside of the cluster (any)'),
  databasePorts: ports.optional().describe('its ports (5432)'),
  denied: networks.optional().describe('more networks that no enclave may reach, such as public addresses of yours'),
});
