import { constants } from 'node:http2';
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { Server, ServiceDefinition } from '@grpc/grpc-js';
import { Bounded } from './bounded';
import { http2ServersOf, onSession } from './http2';
import { forwardedAddress, subscriberAt, subscriberOf, TrustedProxies } from './peer';
import { Resets } from './resets';
import { ruleOf } from './rules';
import { systemClock } from '../clock';
import type { Clock } from '../clock';

/** For an answer to be read, after its call's deadline. */
const READ_MS = 10_000;

/** Where there is one more of something than there may be, the address that has the most of it makes room: nobody is ended by a stranger elsewhere. */
export interface PeerLimits {
  /**
   * HTTP/2 connections. One more, and of that address the one that has been without work for longest is closed. Where all of them have some, the oldest
   * makes room for another address, and none for its own.
   */
  connections?: number;
  /** TLS handshakes that aren't finished. One more, and the oldest of that address is closed. */
  handshakes?: number;
  handshakeMs?: number;
  /** Requests that aren't there as a whole. One more, and the oldest of that address is cut: an honest one is never long the oldest. */
  requests?: number;
  requestMs?: number;
  /** Calls with a deadline of their own (rules.ts), however long their callers leave the answer unread. One more, and the oldest of that address is cut. */
  calls?: number;
  /** Calls that an address may give up at once, and again in ten seconds. One more, and the connection that it came by is closed. */
  resets?: number;
  /** What stands before the server: its connections carry the calls of many, so no single caller ends them. */
  proxies?: TrustedProxies | undefined;
}

/** Connections, and how many calls are at work on each. */
class Connections {
  /** The one that began a call last is last. */
  private readonly working = new Map<ServerHttp2Session, { owner: string; calls: number }>();

  constructor(private readonly most: number) {}

  add(session: ServerHttp2Session, owner: string): void {
    this.working.set(session, { owner, calls: 0 });
    session.once('close', () => this.working.delete(session));
    if (this.working.size > this.most) this.choose(session, owner).destroy();
  }

  /** @returns for the call's end */
  began(session: ServerHttp2Session): () => void {
    const entry = this.working.get(session);
    if (entry === undefined) return () => undefined;
    this.working.delete(session);
    this.working.set(session, entry);
    entry.calls += 1;
    return () => void (entry.calls -= 1);
  }

  /** Which one closes for one more: of the owner who has the most, one without work; where all have some, the oldest, but for one more of their own. */
  private choose(added: ServerHttp2Session, owner: string): ServerHttp2Session {
    const counts = new Map<string, number>();
    for (const { owner: one } of this.working.values()) counts.set(one, (counts.get(one) ?? 0) + 1);
    const [greediest] = [...counts].reduce((one, other) => (other[1] > one[1] ? other : one));
    const theirs = [...this.working].filter(([, entry]) => entry.owner === greediest);
    const [idle] = theirs.find(([, { calls }]) => calls === 0) ?? [];
    return idle ?? (owner === greediest ? added : theirs[0]![0]);
  }
}

/** Whose call it is: behind a proxy of ours its caller's. */
function callerOf(
  socket: Pick<Socket, 'remoteAddress'>,
  headers: IncomingHttpHeaders,
  proxies: TrustedProxies,
): string {
  const forwarded = headers['x-forwarded-for'];
  const text = Array.isArray(forwarded) ? forwarded.join(',') : (forwarded ?? '');
  return subscriberOf(forwardedAddress(socket.remoteAddress, text, proxies));
}

/**
 * Bounds what callers that nobody knows can hold of a server: grpc-js itself keeps every connection, and of every call as much as came of its
 * request, for as long as the other end likes.
 * @param server with its port bound
 * @param services for which of their methods stream requests, and how long each may last
 */
export function limitPeers(
  server: Server,
  services: readonly ServiceDefinition[],
  limits: PeerLimits = {},
  clock: Clock = systemClock,
): void {
  const { connections = 1024, requests = 2048, requestMs = 10_000, calls = 4096 } = limits;
  const { resets: mostResets = 200, proxies = TrustedProxies.none } = limits;
  const methods = services.flatMap((definition) => Object.values(definition));
  const streamsRequests = new Set(methods.filter(({ requestStream }) => requestStream).map(({ path }) => path));
  const deadlines = new Map(
    methods.flatMap(({ path }) => {
      const { timeout } = ruleOf(path);
      return typeof timeout === 'object' && 'deadlineMs' in timeout
        ? [[path, timeout.deadlineMs + READ_MS] as const]
        : [];
    }),
  );

  const cutHere = new WeakSet<ServerHttp2Stream>();
  // A stream that is only closed waits for what its other end does not send.
  const cut = (stream: ServerHttp2Stream): void => {
    cutHere.add(stream);
    stream.destroy();
  };
  const resets = new Resets(mostResets, clock);
  const unfinished = new Bounded<ServerHttp2Stream>(requests, cut, clock);
  const bounded = new Bounded<ServerHttp2Stream>(calls, cut, clock);
  const open = new Connections(connections);

  onSession(server, (session) => {
    const { socket } = session;
    const peer = subscriberAt(socket);
    const isProxy = proxies.has(socket.remoteAddress ?? '');
    if (resets.isClosedTo(peer)) {
      session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
      return;
    }
    open.add(session, peer);
    session.on('stream', (stream, headers) => {
      const owner = isProxy ? callerOf(socket, headers, proxies) : peer;
      const path = String(headers[':path']);
      let ended = (): void => undefined;
      if (streamsRequests.has(path)) {
        ended = open.began(session);
        // An answer can be whole while its caller keeps the request open for as long as they like.
        stream.once('finish', () => {
          if (!stream.readableEnded && !stream.destroyed) unfinished.add(stream, owner, requestMs);
        });
      } else {
        unfinished.add(stream, owner, requestMs);
        stream.once('end', () => {
          unfinished.delete(stream, owner);
          ended = open.began(session);
        });
      }
      const deadlineMs = deadlines.get(path);
      if (deadlineMs !== undefined) bounded.add(stream, owner, deadlineMs);
      stream.once('close', () => {
        unfinished.delete(stream, owner);
        bounded.delete(stream, owner);
        ended();
        if (!stream.aborted || cutHere.has(stream) || isProxy || session.destroyed) return;
        if (resets.isTooMany(owner)) session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
      });
    });
  });
  limitHandshakes(server, limits, clock);
}

/** Only a server with TLS has any. Both of its events are about one connection when they name the same other end. */
function limitHandshakes(server: Server, { handshakes = 1024, handshakeMs = 10_000 }: PeerLimits, clock: Clock): void {
  const open = new Map<string, Socket>();
  const bounded = new Bounded<Socket>(handshakes, (socket) => socket.destroy(), clock);
  const nameOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress}|${remotePort}`;
  for (const http2 of http2ServersOf(server)) {
    if (!('setSecureContext' in http2)) continue;
    http2.on('connection', (socket) => {
      const name = nameOf(socket);
      open.set(name, socket);
      const owner = subscriberAt(socket);
      bounded.add(socket, owner, handshakeMs);
      socket.once('close', () => {
        bounded.delete(socket, owner);
        if (open.get(name) === socket) open.delete(name);
      });
    });
    http2.on('secureConnection', (socket) => {
      const transport = open.get(nameOf(socket));
      if (transport) bounded.delete(transport, subscriberAt(socket));
    });
  }
}
