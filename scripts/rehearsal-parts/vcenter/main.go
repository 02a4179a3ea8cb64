// A vCenter for the rehearsal: govmomi's simulator, with a keyboard. Packer's vsphere-iso uploads the ISO into it, makes the virtual
// machine, powers it on and types its boot command. Usage: vcenter LISTEN GUEST-ADDRESS. Prints one line of JSON for each event:
// the datastore's folder, each key that was typed (USB HID code and modifiers), each power state. A machine that is on reports
// GUEST-ADDRESS as its own, once a key was typed; a connection to the port after LISTEN's switches it off.
package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

var printing sync.Mutex

func say(event map[string]any) {
	line, _ := json.Marshal(event)
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(line))
}

// keyboard is a virtual machine whose keys can be typed, which the simulator's cannot.
type keyboard struct {
	*simulator.VirtualMachine
	guest string
}

// PutUsbScanCodes takes the keys that a builder types.
func (k *keyboard) PutUsbScanCodes(ctx *simulator.Context, req *types.PutUsbScanCodes) soap.HasFault {
	ctx.Session.Registry.Remove(ctx, k.Self)
	for _, event := range req.Spec.KeyEvents {
		key := map[string]any{"event": "key", "code": event.UsbHidCode}
		if m := event.Modifiers; m != nil {
			pressed := []string{}
			for name, on := range map[string]*bool{
				"leftCtrl": m.LeftControl, "leftShift": m.LeftShift, "leftAlt": m.LeftAlt,
				"rightCtrl": m.RightControl, "rightShift": m.RightShift, "rightAlt": m.RightAlt,
			} {
				if on != nil && *on {
					pressed = append(pressed, name)
				}
			}
			key["modifiers"] = pressed
		}
		say(key)
	}
	nics := []types.GuestNicInfo{}
	for _, device := range k.Config.Hardware.Device {
		if card, ok := device.(types.BaseVirtualEthernetCard); ok {
			mac := card.GetVirtualEthernetCard().MacAddress
			address := []types.NetIpConfigInfoIpAddress{{IpAddress: k.guest, PrefixLength: 24, State: "preferred"}}
			nics = append(nics, types.GuestNicInfo{
				MacAddress: mac, IpAddress: []string{k.guest}, Connected: true,
				IpConfig: &types.NetIpConfigInfo{IpAddress: address},
			})
		}
	}
	ctx.Map.Update(ctx, k.VirtualMachine, []types.PropertyChange{
		{Name: "guest.ipAddress", Val: k.guest},
		{Name: "guest.net", Val: nics},
	})
	return &methods.PutUsbScanCodesBody{
		Res: &types.PutUsbScanCodesResponse{Returnval: int32(len(req.Spec.KeyEvents))},
	}
}

// next is the address with the port after it.
func next(address string) string {
	host, port, _ := net.SplitHostPort(address)
	number, _ := strconv.Atoi(port)
	return net.JoinHostPort(host, strconv.Itoa(number+1))
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: vcenter LISTEN GUEST-ADDRESS")
		os.Exit(2)
	}
	model := simulator.VPX()
	model.Machine = 0
	if err := model.Create(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	model.Service.TLS = new(tls.Config)
	model.Service.Listen = &url.URL{Host: os.Args[1]}
	model.Service.RegisterEndpoints = true
	simulator.Map.Handler = func(ctx *simulator.Context, method *simulator.Method) (mo.Reference, types.BaseMethodFault) {
		if strings.HasPrefix(method.Name, "Power") || method.Name == "CreateVM_Task" {
			say(map[string]any{"event": method.Name})
		}
		if method.Name != "PutUsbScanCodes" {
			return nil, nil
		}
		vm, ok := ctx.Map.Get(method.This).(*simulator.VirtualMachine)
		if !ok {
			return nil, nil
		}
		// What a session has of its own goes before what the simulator has.
		typed := &keyboard{vm, os.Args[2]}
		ctx.Session.Registry.Put(typed)
		return typed, nil
	}
	server := model.Service.NewServer()
	for _, it := range simulator.Map.All("Datastore") {
		say(map[string]any{"event": "datastore", "name": it.(*simulator.Datastore).Name, "path": it.(*simulator.Datastore).Info.GetDatastoreInfo().Url})
	}
	say(map[string]any{"event": "listening", "url": server.URL.Host})
	off, err := net.Listen("tcp", next(os.Args[1]))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		for {
			connection, err := off.Accept()
			if err != nil {
				return
			}
			connection.Close()
			ctx := simulator.SpoofContext()
			for _, it := range simulator.Map.All("VirtualMachine") {
				ctx.Map.WithLock(ctx, it, func() {
					ctx.Map.Update(ctx, it, []types.PropertyChange{
						{Name: "runtime.powerState", Val: types.VirtualMachinePowerStatePoweredOff},
						{Name: "summary.runtime.powerState", Val: types.VirtualMachinePowerStatePoweredOff},
					})
				})
			}
			say(map[string]any{"event": "off"})
		}
	}()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
	server.Close()
	model.Remove()
}
