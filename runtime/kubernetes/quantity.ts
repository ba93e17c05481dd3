const SUFFIXES: Record<string, number> = {
  '': 1,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** The number that a Kubernetes quantity stands for (apimachinery, resource.Quantity): "500m" is 0.5, "1Ki" 1024. NaN for what is none. */
export function parseQuantity(text: string): number {
  const [, digits, suffix = ''] = /^(\d+(?:\.\d*)?|\.\d+)([a-zA-Z]*)$/.exec(text) ?? [];
  return digits === undefined ? NaN : Number(digits) * (SUFFIXES[suffix] ?? NaN);
}
