import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import type { PasswordHasher } from '../../licensing/passwords/hasher';
import type { Interceptor } from '../../runtime/rpc/call';
import { RULES } from '../../runtime/rpc/rules';
import type { Method } from '../../runtime/rpc/rules';
import { currentRequester } from '../../runtime/turns/requester';
import type { Requester } from '../../runtime/turns/requester';

type Cost = (typeof RULES)[Method]['cost'];
type Measured = { -readonly [Part in keyof Cost]: number };

/** What calls cost a server whose outermost interceptor is this one's, compared with the table of rules. */
export class CostMeter {
  private readonly most = new Map<string, Measured>();
  private readonly passwords = new Map<Requester, number>();
  private readonly methods: Map<string, MethodDefinition<unknown, unknown>>;

  constructor(services: readonly ServiceDefinition[]) {
    this.methods = new Map(
      services.flatMap((service) =>
        (Object.values(service) as unknown as Array<MethodDefinition<unknown, unknown>>).map(
          (method) => [method.path, method] as const,
        ),
      ),
    );
  }

  readonly interceptor: Interceptor = async ({ method }, next) => {
    const requester = currentRequester()!;
    let answerBytes = 0;
    try {
      const answer = await next();
      // Messages of a stream are held to the rule where they are written (sizes.ts).
      if (answer !== undefined) answerBytes = this.methods.get(method)!.responseSerialize(answer).length;
      return answer;
    } finally {
      const before = this.most.get(method) ?? { statements: 0, passwords: 0, answerBytes: 0 };
      this.most.set(method, {
        statements: Math.max(before.statements, requester.statements),
        passwords: Math.max(before.passwords, this.passwords.get(requester) ?? 0),
        answerBytes: Math.max(before.answerBytes, answerBytes),
      });
    }
  };

  /** Counts what a hasher is asked for by the calls. */
  watch(hasher: PasswordHasher): void {
    for (const name of ['hash', 'verify', 'weakness'] as const) {
      const original = hasher[name].bind(hasher) as (...values: unknown[]) => unknown;
      Object.assign(hasher, {
        [name]: (...values: unknown[]) => {
          const requester = currentRequester();
          if (requester) this.passwords.set(requester, (this.passwords.get(requester) ?? 0) + 1);
          return original(...values);
        },
      });
    }
  }

  /** Methods of the services that no call was measured of. */
  get unmeasured(): string[] {
    return [...this.methods.keys()].filter((method) => !this.most.has(method)).sort();
  }

  /** What cost more than its rule says, in words. */
  get wrong(): string[] {
    return [...this.most].flatMap(([method, cost]) => {
      const rule = RULES[method as Method].cost;
      const over = (Object.keys(rule) as Array<keyof Cost>).filter((part) => cost[part] > rule[part]);
      return over.map((part) => `${method}: ${cost[part]} ${part}, expected ${rule[part]} at most`);
    });
  }

  /** The most that a call has cost, by method. */
  get measured(): Record<string, Measured> {
    return Object.fromEntries(this.most);
  }
}
