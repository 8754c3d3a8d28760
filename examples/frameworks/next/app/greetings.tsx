"use client";

import { useEffect, useState } from "react";
import { createClient } from "streamside/client";
import type { Events } from "../lib/hub";

export function Greetings({ session }: { session: string }) {
  const [from, setFrom] = useState("nobody yet");
  useEffect(() => {
    const headers = { "X-Session-Id": session };
    const client = createClient<Events>("/api/v1/sse/subscribe", { headers });
    client.on("greeting", (event) => setFrom(event.json().from));
    client.connect();
    return () => client.close();
  }, [session]);
  return <p>Greeted by {from}</p>;
}
