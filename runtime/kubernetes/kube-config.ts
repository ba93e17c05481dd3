/** The one thing of the client library that is used: a server, its CA and credentials, from wherever they come. */
export { KubeConfig } from '@kubernetes/client-node';
