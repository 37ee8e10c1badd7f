// A mapper as KubeEdge's mapper framework makes them, in Go with Google's own gRPC: it registers with data, serves
// DeviceMapperService, polls a make-believe device (a file of JSON), writes what is desired when it is (re)started, and opens a
// connection for each report. It looks into nested messages without asking whether they are there, as the framework does.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/ioutil"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/golang/protobuf/ptypes/wrappers"
	"google.golang.org/grpc"

	pb "dmi"
)

type running struct {
	device *pb.Device
	stop   chan struct{}
}

type mapper struct {
	mutex   sync.Mutex
	gateway string
	file    string
	models  map[string]*pb.DeviceModel
	devices map[string]*running
}

func dialer(path string) grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return net.Dial("unix", path)
	})
}

func (m *mapper) withGateway(call func(context.Context, pb.DeviceManagerServiceClient) error) error {
	connection, err := grpc.Dial(m.gateway, grpc.WithInsecure(), grpc.WithBlock(), dialer(m.gateway))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return call(ctx, pb.NewDeviceManagerServiceClient(connection))
}

func (m *mapper) values() map[string]string {
	values := map[string]string{}
	if data, err := ioutil.ReadFile(m.file); err == nil {
		json.Unmarshal(data, &values)
	}
	return values
}

func (m *mapper) write(name, value string) {
	values := m.values()
	values[name] = value
	data, _ := json.Marshal(values)
	ioutil.WriteFile(m.file+".new", data, 0600)
	os.Rename(m.file+".new", m.file)
}

func factor(property *pb.DeviceProperty) float64 {
	value := &wrappers.FloatValue{}
	held, there := property.Visitors.ConfigData.Data["factor"]
	if there && held.TypeUrl == "type.googleapis.com/google.protobuf.FloatValue" && proto.Unmarshal(held.Value, value) == nil {
		return float64(value.Value)
	}
	return 1
}

func (m *mapper) start(device *pb.Device) {
	id := device.Namespace + "/" + device.Name
	if before, there := m.devices[id]; there {
		close(before.stop)
	}
	started := &running{device: device, stop: make(chan struct{})}
	m.devices[id] = started
	access := map[string]string{}
	for _, property := range m.models[device.Namespace+"/"+device.Spec.DeviceModelReference].Spec.Properties {
		access[property.Name] = property.AccessMode
	}
	for _, property := range device.Spec.Properties {
		if property.Desired.Value != "" && access[property.Name] != "ReadOnly" {
			m.write(property.Name, property.Desired.Value)
		}
		_ = property.PushMethod.DbMethod == nil
		go m.poll(started, property)
	}
	_ = len(device.Status.Twins)
}

func (m *mapper) poll(started *running, property *pb.DeviceProperty) {
	ticker := time.NewTicker(time.Duration(property.CollectCycle) * time.Millisecond)
	for {
		select {
		case <-started.stop:
			return
		case <-ticker.C:
		}
		m.mutex.Lock()
		value, there := m.values()[property.Name]
		m.mutex.Unlock()
		if !there {
			continue
		}
		if number, err := strconv.ParseFloat(value, 64); err == nil && factor(property) != 1 {
			value = strconv.FormatFloat(number*factor(property), 'f', -1, 64)
		}
		now := strconv.FormatInt(time.Now().UnixNano()/1e6, 10)
		twin := &pb.Twin{
			PropertyName:    property.Name,
			ObservedDesired: &pb.TwinProperty{Value: property.Desired.Value, Metadata: map[string]string{"timestamp": now}},
			Reported:        &pb.TwinProperty{Value: value, Metadata: map[string]string{"timestamp": now, "type": "int"}},
		}
		err := m.withGateway(func(ctx context.Context, gateway pb.DeviceManagerServiceClient) error {
			_, err := gateway.ReportDeviceStatus(ctx, &pb.ReportDeviceStatusRequest{
				DeviceName:      started.device.Name,
				DeviceNamespace: started.device.Namespace,
				ReportedDevice:  &pb.DeviceStatus{Twins: []*pb.Twin{twin}},
			})
			return err
		})
		if err != nil {
			fmt.Println("report refused:", err)
		}
	}
}

func (m *mapper) RegisterDevice(_ context.Context, in *pb.RegisterDeviceRequest) (*pb.RegisterDeviceResponse, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if _, there := m.devices[in.Device.Namespace+"/"+in.Device.Name]; !there {
		if _, there := m.models[in.Device.Namespace+"/"+in.Device.Spec.DeviceModelReference]; !there {
			return nil, errors.New("deviceModel not found")
		}
		m.start(in.Device)
	}
	return &pb.RegisterDeviceResponse{DeviceName: in.Device.Name}, nil
}

func (m *mapper) UpdateDevice(_ context.Context, in *pb.UpdateDeviceRequest) (*pb.UpdateDeviceResponse, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	fmt.Println("updated", in.Device.Name)
	m.start(in.Device)
	return &pb.UpdateDeviceResponse{}, nil
}

func (m *mapper) RemoveDevice(_ context.Context, in *pb.RemoveDeviceRequest) (*pb.RemoveDeviceResponse, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	id := in.DeviceNamespace + "/" + in.DeviceName
	close(m.devices[id].stop)
	delete(m.devices, id)
	fmt.Println("removed", in.DeviceName)
	return &pb.RemoveDeviceResponse{}, nil
}

func (m *mapper) CreateDeviceModel(_ context.Context, in *pb.CreateDeviceModelRequest) (*pb.CreateDeviceModelResponse, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.models[in.Model.Namespace+"/"+in.Model.Name] = in.Model
	return &pb.CreateDeviceModelResponse{DeviceModelName: in.Model.Name}, nil
}

func (m *mapper) UpdateDeviceModel(ctx context.Context, in *pb.UpdateDeviceModelRequest) (*pb.UpdateDeviceModelResponse, error) {
	_, err := m.CreateDeviceModel(ctx, &pb.CreateDeviceModelRequest{Model: in.Model})
	return &pb.UpdateDeviceModelResponse{}, err
}

func (m *mapper) RemoveDeviceModel(context.Context, *pb.RemoveDeviceModelRequest) (*pb.RemoveDeviceModelResponse, error) {
	return &pb.RemoveDeviceModelResponse{}, nil
}

func (m *mapper) GetDevice(_ context.Context, in *pb.GetDeviceRequest) (*pb.GetDeviceResponse, error) {
	if in.DeviceName == "" {
		return nil, errors.New("device name is nil")
	}
	return nil, errors.New("not asked for")
}

// arguments: the gateway's socket, the mapper's own, the file that is the device, the protocol
func main() {
	m := &mapper{gateway: os.Args[1], file: os.Args[3], models: map[string]*pb.DeviceModel{}, devices: map[string]*running{}}
	err := m.withGateway(func(ctx context.Context, gateway pb.DeviceManagerServiceClient) error {
		answer, err := gateway.MapperRegister(ctx, &pb.MapperRegisterRequest{
			WithData: true,
			Mapper: &pb.MapperInfo{
				Name: "go-mapper", Version: "v1.0.0", ApiVersion: "v1.0.0", Protocol: os.Args[4], Address: []byte(os.Args[2]), State: "ok",
			},
		})
		if err != nil {
			return err
		}
		for _, model := range answer.ModelList {
			m.models[model.Namespace+"/"+model.Name] = model
		}
		for _, device := range answer.DeviceList {
			m.start(device)
		}
		fmt.Println("registered", len(answer.DeviceList))
		return nil
	})
	if err != nil {
		fmt.Println("not registered:", err)
		os.Exit(1)
	}
	os.Remove(os.Args[2])
	listener, err := net.Listen("unix", os.Args[2])
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer()
	pb.RegisterDeviceMapperServiceServer(server, m)
	panic(server.Serve(listener))
}
