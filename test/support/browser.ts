/** A person's browser, as far as forms and cookies go. */
export class Browser {
  private readonly cookies = new Map<string, string>();
  private url = '';
  private page = '';

  async open(url: string): Promise<void> {
    await this.fetch(url);
  }

  /** What is written on the page. */
  get text(): string {
    return this.page
      .replace(/<style[^]*?<\/style>/g, '')
      .replace(/<[^>]*>/g, ' ')
      .replace(/\s+/g, ' ')
      .trim();
  }

  has(field: string): boolean {
    return this.fields().has(field);
  }

  /** Whether there is a form to submit. */
  get asks(): boolean {
    return /<form/.test(this.page);
  }

  /** Submits the page's form. @param values over those that are filled in */
  async submit(values: Record<string, string> = {}): Promise<void> {
    const action = /<form[^>]*action="([^"]+)"/.exec(this.page)?.[1] ?? this.url;
    const form = new URLSearchParams([...new Map([...this.fields(), ...Object.entries(values)])]);
    await this.fetch(new URL(action, this.url).href, { method: 'POST', body: form });
  }

  /** Follows the page's link of that text. */
  async follow(text: string): Promise<void> {
    const [, href] = new RegExp(`<a[^>]*href="([^"]+)"[^>]*>[^<]*${text}`).exec(this.page) ?? [];
    if (href === undefined) throw new Error(`no link ${text} on ${this.url}: ${this.text}`);
    await this.fetch(new URL(href, this.url).href);
  }

  private fields(): Map<string, string> {
    const inputs = [...this.page.matchAll(/<input[^>]*>/g)].map(
      ([tag]) => [/name="([^"]+)"/.exec(tag)?.[1], /value="([^"]*)"/.exec(tag)?.[1] ?? ''] as const,
    );
    return new Map(inputs.flatMap(([name, value]) => (name === undefined ? [] : [[name, value]])));
  }

  private async fetch(url: string, init: RequestInit = {}): Promise<void> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(url, { ...init, redirect: 'manual', headers: { cookie } });
    for (const [, name = '', value = ''] of response.headers
      .getSetCookie()
      .map((text) => /^([^=]+)=([^;]*)/.exec(text) ?? [])) {
      if (value === '') this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    this.url = url;
    this.page = await response.text();
    const location = response.headers.get('location');
    if (location !== null) await this.fetch(new URL(location, url).href);
  }
}
