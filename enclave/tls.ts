import { constants } from 'node:crypto';
import type { X509Certificate } from 'node:crypto';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer } from 'node:tls';
import type { TlsOptions, TLSSocket } from 'node:tls';
import { channelBinding } from '../runtime/rpc/channel-binding';
import { RpcError } from '../runtime/rpc/errors';
import { admitClient } from './clients';
import { Handshakes } from './handshakes';
import type { Client, ClientPolicy } from './clients';
import type { Identity } from './identity';
import { watchPeer } from './lost-peer';
import { silent } from '../runtime/log/log';
import type { Logger } from '../runtime/log/log';

/** One TLS connection, authenticated from both sides. */
export interface SecureConnection {
  socket: TLSSocket;
  client: Client;
  /** RFC 9266, 32 bytes. */
  tlsExporter: Buffer;
}

interface TlsEndpointOptions {
  identity: Identity;
  clients: ClientPolicy;
  onConnection(connection: SecureConnection): void;
  /** Silent, unless told. */
  log?: Logger;
}

/** Connections past their handshake. One more is refused. */
const MAX_CONNECTIONS = 256;
const MAX_CHAIN = 4;

/**
 * The enclave's end of TLS: 1.3 only, client certificate demanded and checked, every session a full handshake. Takes any transport: a TCP
 * socket or the bytes of a gRPC stream. The end of a client certificate does not end a connection that it opened; it opens no other one.
 */
export class TlsEndpoint {
  private readonly tls: TlsOptions;
  private readonly handshakes: Handshakes;
  private readonly connections = new Set<TLSSocket>();
  private readonly log: Logger;

  constructor(private readonly options: TlsEndpointOptions) {
    const { identity, clients } = options;
    this.handshakes = new Handshakes(clients.clock);
    this.log = options.log ?? silent;
    this.tls = {
      key: identity.privateKey,
      cert: identity.certificatePem,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
      maxVersion: 'TLSv1.3',
      ecdhCurve: 'X25519:prime256v1',
      ALPNProtocols: ['h2'],
      // No stateless tickets; and no session is ever stored, so a stateful one finds nothing. What is resumed all the same is closed below.
      secureOptions: constants.SSL_OP_NO_TICKET,
      sessionTimeout: 1,
    };
  }

  /** Connections past their handshake. */
  get connectionCount(): number {
    return this.connections.size;
  }

  /** Starts a handshake on the transport. @param owner whose it is, as far as anything tells: an address */
  accept(transport: Duplex, owner: string): void {
    if (transport instanceof Socket) transport.setNoDelay(true);
    const drop = (): void => void transport.destroy();
    transport.on('error', drop);
    this.handshakes.began(transport, owner);
    if (transport.destroyed) return;

    // Nothing is spent on a transport that says nothing.
    transport.once('readable', () => {
      this.handshakes.spoke(transport);
      if (transport.destroyed) return;
      // A server of its own for each: which transport a handshake belongs to is plain, and client roots are those of now.
      const server = createServer({ ...this.tls, ca: this.options.clients.clientRoots });
      server.once('secureConnection', (socket) => {
        this.handshakes.finished(transport);
        this.admit(socket, transport);
      });
      server.on('tlsClientError', (error) => {
        this.log.info({ code: 'enclave.no_handshake', reason: error.message }, 'refused');
        drop();
      });
      server.emit('connection', transport);
    });
  }

  /** Cuts every connection and every handshake. */
  close(): void {
    this.handshakes.close();
    for (const socket of this.connections) socket.destroy();
  }

  private admit(socket: TLSSocket, transport: Duplex): void {
    const { clients, onConnection } = this.options;
    socket.on('error', (error) => this.log.debug({ reason: error.message }, 'connection failed'));
    try {
      if (socket.isSessionReused()) throw new Error('the session was resumed');
      if (socket.alpnProtocol !== 'h2') throw new Error('expected the protocol h2');
      if (this.connections.size >= MAX_CONNECTIONS) throw new Error(`expected ${MAX_CONNECTIONS} connections at most`);
      const client = admitClient(peerChain(socket), clients);
      const tlsExporter = channelBinding(socket);
      this.connections.add(socket);
      const watch = watchPeer(transport, clients.clock, () => {
        transport.destroy();
        socket.destroy();
      });
      socket.once('close', () => {
        watch?.cancel();
        this.connections.delete(socket);
      });
      onConnection({ socket, client, tlsExporter });
    } catch (error) {
      const { message } = error as Error;
      this.log.info(
        { code: error instanceof RpcError ? error.code : 'enclave.connection_refused', reason: message },
        'refused',
      );
      socket.destroy();
    }
  }
}

/** The client's certificates as it sent them, DER, leaf first. */
function peerChain(socket: TLSSocket): Buffer[] {
  const chain: Buffer[] = [];
  let certificate: X509Certificate | undefined = socket.getPeerX509Certificate();
  while (certificate && chain.length < MAX_CHAIN) {
    chain.push(certificate.raw);
    certificate = certificate.issuerCertificate;
  }
  return chain;
}
