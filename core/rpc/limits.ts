import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { Server, ServiceDefinition } from '@grpc/grpc-js';
import { http2ServersOf, onSession } from './http2';

export interface PeerLimits {
  /** HTTP/2 connections. One more, and the one that has been without work for longest is closed: the new one, where all others have some. */
  connections?: number;
  /** TLS handshakes that aren't finished. One more, and the oldest is closed. */
  handshakes?: number;
  handshakeMs?: number;
  /** Requests that aren't there as a whole. One more, and the oldest is cut: an honest one is never long the oldest. */
  requests?: number;
  requestMs?: number;
  /** Calls of one request and one answer, however long their callers leave the answer unread. One more, and the oldest is cut. */
  calls?: number;
  callMs?: number;
}

/** Things that end by themselves, or when they are too old or too many. */
class Bounded<T> {
  private readonly timers = new Map<T, NodeJS.Timeout>();

  constructor(
    private readonly most: number,
    private readonly ms: number,
    private readonly cut: (thing: T) => void,
  ) {}

  add(thing: T): void {
    const [oldest] = this.timers.keys();
    if (oldest !== undefined && this.timers.size >= this.most) this.end(oldest);
    this.timers.set(thing, setTimeout(() => this.end(thing), this.ms).unref());
  }

  delete(thing: T): void {
    clearTimeout(this.timers.get(thing));
    this.timers.delete(thing);
  }

  private end(thing: T): void {
    this.delete(thing);
    this.cut(thing);
  }
}

/**
 * Bounds what callers that nobody knows can hold of a server: grpc-js itself keeps every connection, and of every call as much as came of its
 * request, for as long as the other end likes.
 * @param server with its port bound
 * @param services for which of their methods stream requests: such calls may stay open, and their handlers know for how long
 */
export function limitPeers(server: Server, services: readonly ServiceDefinition[], limits: PeerLimits = {}): void {
  const { connections = 1024, requests = 2048, requestMs = 10_000, calls = 4096, callMs = 300_000 } = limits;
  const methods = services.flatMap((definition) => Object.values(definition));
  const pathsOf = (streams: 'requestStream' | 'responseStream'): Set<string> => new Set(methods.filter((method) => method[streams]).map(({ path }) => path));
  const [streamsRequests, streamsResponses] = [pathsOf('requestStream'), pathsOf('responseStream')];

  // A stream that is only closed waits for what its other end does not send.
  const cut = (stream: ServerHttp2Stream): void => void stream.destroy();
  const unfinished = new Bounded<ServerHttp2Stream>(requests, requestMs, cut);
  const unary = new Bounded<ServerHttp2Stream>(calls, callMs, cut);
  /** Calls at work, by connection; the one that began a call last is last. */
  const working = new Map<ServerHttp2Session, number>();

  onSession(server, (session) => {
    working.set(session, 0);
    session.once('close', () => working.delete(session));
    if (working.size > connections) [...working].find(([, count]) => count === 0)?.[0].destroy();

    session.on('stream', (stream, headers) => {
      const path = String(headers[':path']);
      let counted = false;
      const began = (): void => {
        const count = working.get(session);
        if (count === undefined) return;
        counted = true;
        working.delete(session);
        working.set(session, count + 1);
      };
      if (streamsRequests.has(path)) {
        began();
      } else {
        unfinished.add(stream);
        stream.once('end', () => {
          unfinished.delete(stream);
          began();
        });
        if (!streamsResponses.has(path)) unary.add(stream);
      }
      stream.once('close', () => {
        unfinished.delete(stream);
        unary.delete(stream);
        const count = working.get(session);
        if (counted && count !== undefined) working.set(session, count - 1);
      });
    });
  });
  limitHandshakes(server, limits);
}

/** Only a server with TLS has any. Both of its events are about one connection when they name the same other end. */
function limitHandshakes(server: Server, { handshakes = 1024, handshakeMs = 10_000 }: PeerLimits): void {
  const open = new Map<string, Socket>();
  const bounded = new Bounded<Socket>(handshakes, handshakeMs, (socket) => socket.destroy());
  const nameOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress}|${remotePort}`;
  for (const http2 of http2ServersOf(server)) {
    if (!('setSecureContext' in http2)) continue;
    http2.on('connection', (socket) => {
      const name = nameOf(socket);
      open.set(name, socket);
      bounded.add(socket);
      socket.once('close', () => {
        bounded.delete(socket);
        if (open.get(name) === socket) open.delete(name);
      });
    });
    http2.on('secureConnection', (socket) => {
      const transport = open.get(nameOf(socket));
      if (transport) bounded.delete(transport);
    });
  }
}
