// Every documented call of github.com/Shopify/toxiproxy/v2/client; prints "ok", or panics.
package main

import (
	"fmt"
	"os"

	toxiproxy "github.com/Shopify/toxiproxy/v2/client"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func want(ok bool, what string) {
	if !ok {
		panic(what)
	}
}

func main() {
	client := toxiproxy.NewClient(os.Args[1])
	version, err := client.Version()
	check(err)
	want(len(version) > 0, "version")
	proxy, err := client.CreateProxy("go-1", "127.0.0.1:0", "127.0.0.1:9")
	check(err)
	want(proxy.Enabled, "enabled")
	_, err = client.CreateProxy("go-1", "127.0.0.1:0", "127.0.0.1:9")
	want(err != nil, "a name is taken once")
	made, err := client.Populate([]toxiproxy.Proxy{{Name: "go-2", Listen: "127.0.0.1:0", Upstream: "127.0.0.1:9", Enabled: true}})
	check(err)
	want(len(made) == 1, "populate")
	all, err := client.Proxies()
	check(err)
	want(all["go-1"] != nil && all["go-2"] != nil, "proxies")
	check(proxy.Disable())
	check(proxy.Enable())
	proxy.Upstream = "127.0.0.1:10"
	check(proxy.Save())
	shown, err := client.Proxy("go-1")
	check(err)
	want(shown.Upstream == "127.0.0.1:10", "save")
	toxic, err := proxy.AddToxic("slow", "latency", "upstream", 0.5, toxiproxy.Attributes{"latency": 100})
	check(err)
	want(toxic.Toxicity == 0.5 && toxic.Stream == "upstream", "add toxic")
	toxic, err = proxy.UpdateToxic("slow", 1, toxiproxy.Attributes{"jitter": 3})
	check(err)
	want(toxic.Attributes["latency"].(float64) == 100 && toxic.Attributes["jitter"].(float64) == 3, "update toxic")
	toxics, err := proxy.Toxics()
	check(err)
	want(len(toxics) == 1, "toxics")
	check(proxy.RemoveToxic("slow"))
	options := toxiproxy.ToxicOptions{ProxyName: "go-1", ToxicName: "t", ToxicType: "timeout", Stream: "downstream", Toxicity: 1}
	_, err = client.AddToxic(&options)
	check(err)
	options.Attributes = toxiproxy.Attributes{"timeout": 9}
	_, err = client.UpdateToxic(&options)
	check(err)
	check(client.RemoveToxic(&options))
	check(client.ResetState())
	for _, one := range []*toxiproxy.Proxy{proxy, made[0]} {
		check(one.Delete())
	}
	_, err = client.Proxy("go-1")
	want(err != nil, "deleted")
	fmt.Println("ok")
}
