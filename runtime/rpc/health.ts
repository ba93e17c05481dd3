import { status } from '@grpc/grpc-js';
import { HealthCheckResponse_ServingStatus as Serving, HealthService } from '../../proto/gen/grpc/health/v1/health';
import type { HealthCheckResponse, HealthServer } from '../../proto/gen/grpc/health/v1/health';
import { RpcError, toStatus } from './errors';

/** Callers that watch at a time: each is a call without an end, and anybody may begin one. */
const MAX_WATCHERS = 64;

/** grpc.health.v1 for a whole server: one answer for "" and for each of its services. */
export class Health {
  private serving = true;
  private readonly watchers = new Set<(answer: HealthCheckResponse) => void>();
  private watching = 0;

  constructor(private readonly services: readonly string[]) {}

  set(serving: boolean): void {
    this.serving = serving;
    for (const notify of this.watchers) notify(this.answer());
  }

  private answer(): HealthCheckResponse {
    return { status: this.serving ? Serving.SERVING : Serving.NOT_SERVING };
  }

  private knows(service: string): boolean {
    return service === '' || this.services.includes(service);
  }

  readonly definition = HealthService;

  readonly implementation: HealthServer = {
    check: (call, callback) => {
      if (this.knows(call.request.service)) callback(null, this.answer());
      else callback(toStatus(new RpcError('health.unknown_service', status.NOT_FOUND, 'unknown service')));
    },
    watch: (call) => {
      if (this.watching >= MAX_WATCHERS) {
        call.emit(
          'error',
          toStatus(new RpcError('health.busy', status.RESOURCE_EXHAUSTED, `expected ${MAX_WATCHERS} watchers at most`)),
        );
        return;
      }
      this.watching++;
      call.on('cancelled', () => this.watching--);
      if (!this.knows(call.request.service)) {
        call.write({ status: Serving.SERVICE_UNKNOWN });
        return;
      }
      const notify = (answer: HealthCheckResponse): void => void call.write(answer);
      this.watchers.add(notify);
      call.on('cancelled', () => this.watchers.delete(notify));
      notify(this.answer());
    },
  };
}
