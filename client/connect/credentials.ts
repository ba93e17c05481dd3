import { CallCredentials, ChannelCredentials } from '@grpc/grpc-js';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';

type SecureConnector = ReturnType<ChannelCredentials['_createSecureConnector']>;

/**
 * Credentials of a gRPC channel whose one connection is made by `connect`, and only once: a verified connection is never replaced by another
 * without a word. grpc-js always dials its target first and hands the socket over.
 */
export class SingleUseCredentials extends ChannelCredentials {
  private used = false;
  /** Why there is no connection; grpc-js itself keeps only a text of it. */
  failure: Error | undefined;

  constructor(private readonly connect: (dialled: Socket) => Promise<TLSSocket>) {
    super();
  }

  override compose(): ChannelCredentials {
    throw new TypeError('expected no call credentials: the connection itself says who calls');
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(
    _target: unknown,
    _options: unknown,
    callCredentials?: CallCredentials,
  ): SecureConnector {
    return {
      connect: async (dialled) => {
        if (this.used) throw new Error('the verified connection is gone');
        this.used = true;
        try {
          return { socket: await this.connect(dialled), secure: true };
        } catch (error) {
          this.failure = error as Error;
          throw error;
        }
      },
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => callCredentials ?? CallCredentials.createEmpty(),
      destroy: () => undefined,
    };
  }
}

/** Where the bytes of TLS go: the socket that was dialled, or something else that carries them. */
export type Transport = (dialled: Socket) => Duplex;
